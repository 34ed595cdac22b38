import assert from 'node:assert'
import { describe, expect, test } from 'vitest'
import { MemoryStorage } from '../../../broker/storage/storage-memory.ts'
import { Message } from '../../../model/message.ts'

const { default: abstractSuite } = await import('aedes-persistence/abstract.js')

describe("Aedes' contract: memory", () => {
  // The suite is written for node:test; this is the part of its context that it uses.
  const context = { assert, diagnostic() {}, plan() {} }
  abstractSuite({
    test: (name: string, run: (t: typeof context) => Promise<void>) => test(name, () => run(context)),
    persistence: () => new MemoryStorage(),
    testAsync: true,
  })
})

describe('our contract: memory', () => {
  const never = Number.POSITIVE_INFINITY
  const retained = (topic: string, payload = topic) =>
    Message.of(topic, Buffer.from(payload), 1, true, undefined, undefined, Date.now())

  async function topicsOf(storage: MemoryStorage, filter: string): Promise<string[]> {
    const cursor = storage.retained(filter)
    const topics: string[] = []
    for (let next = await cursor.next(); next !== undefined; next = await cursor.next())
      topics.push(next.topic)
    return topics.sort()
  }

  test('a retained message is found by every filter that matches its topic', async () => {
    const storage = new MemoryStorage()
    for (const topic of ['a/b', 'a/c', 'd', '$SYS/x']) storage.storeRetained(retained(topic), never)
    expect(await topicsOf(storage, '#')).toEqual(['a/b', 'a/c', 'd'])
    expect(await topicsOf(storage, 'a/+')).toEqual(['a/b', 'a/c'])
    expect(await topicsOf(storage, '$SYS/#')).toEqual(['$SYS/x'])
    expect(storage.retainedCount).toBe(4)
  })

  test('an empty payload takes the retained message away', async () => {
    const storage = new MemoryStorage()
    storage.storeRetained(retained('a'), never)
    storage.storeRetained(retained('a', ''), never)
    expect(storage.retainedCount).toBe(0)
    expect(await topicsOf(storage, 'a')).toEqual([])
  })

  test('an expired retained message is not found and does not stay', async () => {
    const storage = new MemoryStorage()
    storage.storeRetained(retained('old'), Date.now() - 1)
    storage.storeRetained(retained('new'), Date.now() + 60_000)
    expect([storage.hasRetained('old'), storage.hasRetained('none')]).toEqual([true, false])
    expect(await topicsOf(storage, '+')).toEqual(['new'])
    expect(storage.retainedCount).toBe(1)
  })

  test('a sweep takes away what has expired, below $ topics too', () => {
    const storage = new MemoryStorage()
    const nowMs = Date.now()
    for (const topic of ['a', '$SYS/b']) storage.storeRetained(retained(topic), nowMs + 10)
    storage.storeRetained(retained('c'), never)
    storage.dropExpired(nowMs + 10)
    expect(storage.retainedCount).toBe(1)
    expect(storage.hasRetained('c')).toBe(true)
  })

  test('wills of nodes that are alive are left alone', async () => {
    const storage = new MemoryStorage()
    await storage.setup({ id: 'this-node' })
    storage.putWill({ id: 'c1' }, { topic: 'gone', payload: Buffer.alloc(0), qos: 0, retain: false })
    expect(await storage.streamWill({ 'this-node': 1 }).toArray()).toEqual([])
    expect(await storage.streamWill({ other: 1 }).toArray()).toMatchObject([
      { clientId: 'c1', topic: 'gone' },
    ])
  })
})
