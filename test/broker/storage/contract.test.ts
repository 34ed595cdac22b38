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
  const retained = (topic: string, payload = topic, properties = {}, nowMs = Date.now()) =>
    new Message(topic, Buffer.from(payload), 1, true, properties, undefined, nowMs)

  async function topicsOf(storage: MemoryStorage, filter: string): Promise<string[]> {
    const cursor = storage.retained(filter)
    const topics: string[] = []
    for (let next = await cursor.next(); next !== undefined; next = await cursor.next())
      topics.push(next.topic)
    return topics.sort()
  }

  test('a retained message is found by every filter that matches its topic', async () => {
    const storage = new MemoryStorage()
    for (const topic of ['a/b', 'a/c', 'd', '$SYS/x']) storage.storeRetained(retained(topic))
    expect(await topicsOf(storage, '#')).toEqual(['a/b', 'a/c', 'd'])
    expect(await topicsOf(storage, 'a/+')).toEqual(['a/b', 'a/c'])
    expect(await topicsOf(storage, '$SYS/#')).toEqual(['$SYS/x'])
    expect(storage.retainedCount).toBe(4)
  })

  test('an empty payload takes the retained message away', async () => {
    const storage = new MemoryStorage()
    storage.storeRetained(retained('a'))
    storage.storeRetained(retained('a', ''))
    expect(storage.retainedCount).toBe(0)
    expect(await topicsOf(storage, 'a')).toEqual([])
  })

  test('an expired retained message is not found and does not stay', async () => {
    const storage = new MemoryStorage()
    storage.storeRetained(retained('old', 'x', { messageExpiryInterval: 1 }, Date.now() - 2000))
    storage.storeRetained(retained('new', 'x', { messageExpiryInterval: 60 }))
    expect(await topicsOf(storage, '+')).toEqual(['new'])
    expect(storage.retainedCount).toBe(1)
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
