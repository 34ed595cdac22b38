import { runInNewContext } from 'node:vm'
import { describe, expect, test, vi } from 'vitest'
import { type FoldFunction, HookBus, STOP } from '../../hooks/bus.ts'
import type { Authorization } from '../../hooks/hookpoints.ts'
import type { Login, Verdict } from '../../model/access.ts'
import type { ClientInfo } from '../../model/client-info.ts'
import { BrokerError } from '../../model/errors.ts'
import type { Logger } from '../../model/log.ts'
import { Message } from '../../model/message.ts'
import { ReasonCode } from '../../model/reason-codes.ts'

const client = { clientId: 'c' } as ClientInfo
const message = { topic: 't' } as Message
const login = { client } as Login
const IGNORE: Verdict = { kind: 'ignore' }

/** `message.puback` is a fold over a number: handy for following a value. */
function fold(bus: HookBus, value: number) {
  return bus.fold('message.puback', value as ReasonCode, message, 7) as number | Promise<number>
}

const add = (n: number) => (value: ReasonCode) => ({ ok: (value + n) as ReasonCode })
const times = (n: number) => (value: ReasonCode) => ({ ok: (value * n) as ReasonCode })
const later =
  <A extends unknown[], R>(fn: (...args: A) => R) =>
  async (...args: A): Promise<R> =>
    fn(...args)

function recordingLog() {
  const errors: [object, string][] = []
  const log: Logger = {
    debug() {},
    info() {},
    warn() {},
    error: (fields, text) => void errors.push([fields, text]),
    child: () => log,
  }
  return { log, errors }
}

test('an empty chain gives the value back and is known to be empty', () => {
  const bus = new HookBus()
  expect(bus.has('message.puback')).toBe(false)
  expect(fold(bus, 3)).toBe(3)
  expect(bus.run('client.ping', client)).toBeUndefined()
})

test('functions run by priority, equal ones in order of adding', () => {
  const bus = new HookBus()
  const order: string[] = []
  const note = (name: string) => () => void order.push(name)
  bus.add('client.ping', 'a', note('a'))
  bus.add('client.ping', 'low', note('low'), { priority: -5 })
  bus.add('client.ping', 'b', note('b'))
  bus.add('client.ping', 'high', note('high'), { priority: 900 })
  bus.add('client.ping', 'c', note('c'), { priority: 0 })
  bus.run('client.ping', client)
  expect(order).toEqual(['high', 'a', 'b', 'c', 'low'])
})

test('a fold passes the value on, and its context beside it', () => {
  const bus = new HookBus()
  const seen: unknown[] = []
  bus.add('message.puback', 'add', add(1), { priority: 2 })
  bus.add('message.puback', 'look', (...args) => void seen.push(...args.slice(0, 3)), { priority: 1 })
  bus.add('message.puback', 'times', times(10))
  expect(fold(bus, 4)).toBe(50)
  expect(seen).toEqual([5, message, 7])
})

test('stop ends a fold with a value, STOP with the value it has', () => {
  const withValue = new HookBus()
  withValue.add('message.puback', 'a', add(1))
  withValue.add('message.puback', 'b', () => ({ stop: 99 as ReasonCode }))
  withValue.add('message.puback', 'c', times(10))
  expect(fold(withValue, 1)).toBe(99)

  const keeping = new HookBus()
  keeping.add('message.puback', 'a', add(1))
  keeping.add('message.puback', 'b', () => STOP)
  keeping.add('message.puback', 'c', times(10))
  expect(fold(keeping, 1)).toBe(2)
})

test('anything else a function returns changes nothing', () => {
  const bus = new HookBus()
  for (const [name, value] of Object.entries({
    text: 'ok',
    number: 1,
    yes: true,
    nothing: null,
    object: {},
  })) {
    bus.add('message.puback', name, (() => value) as never)
  }
  expect(fold(bus, 1)).toBe(1)
})

test('STOP ends a run', () => {
  const bus = new HookBus()
  const after = vi.fn()
  bus.add('client.ping', 'a', () => STOP)
  bus.add('client.ping', 'b', after)
  bus.run('client.ping', client)
  expect(after).not.toHaveBeenCalled()
})

test('a filter that says no skips its function only', () => {
  const bus = new HookBus()
  bus.add('message.puback', 'a', add(1), { filter: (value) => value > 10 })
  bus.add('message.puback', 'b', times(2))
  expect(fold(bus, 3)).toBe(6)
  expect(fold(bus, 20)).toBe(42)
})

test('a fold with a promise in it goes on in order and gives a promise', async () => {
  const bus = new HookBus()
  bus.add('message.puback', 'a', add(1))
  bus.add('message.puback', 'b', later(times(10)))
  bus.add('message.puback', 'c', add(2))
  bus.add('message.puback', 'd', later(add(3)))
  bus.add(
    'message.puback',
    'e',
    later(() => undefined),
  )
  const result = fold(bus, 1)
  expect(result).toBeInstanceOf(Promise)
  expect(await result).toBe(25)
})

test('a promise may stop a fold', async () => {
  const bus = new HookBus()
  bus.add(
    'message.puback',
    'a',
    later(() => ({ stop: 5 as ReasonCode })),
  )
  bus.add('message.puback', 'b', times(10))
  expect(await fold(bus, 1)).toBe(5)

  const keeping = new HookBus()
  keeping.add(
    'message.puback',
    'a',
    later((): typeof STOP => STOP),
  )
  keeping.add('message.puback', 'b', times(10))
  expect(await fold(keeping, 1)).toBe(1)
})

test('a run waits for a promise before the next function', async () => {
  const bus = new HookBus()
  const order: string[] = []
  let release = (): void => {}
  const gate = new Promise<void>((resolve) => (release = resolve))
  bus.add('client.ping', 'slow', () => gate.then(() => order.push('slow')))
  bus.add('client.ping', 'quick', () => void order.push('quick'))
  const done = bus.run('client.ping', client)
  expect(order).toEqual([])
  release()
  await done
  expect(order).toEqual(['slow', 'quick'])
})

test('a promise of STOP ends a run', async () => {
  const bus = new HookBus()
  const after = vi.fn()
  bus.add('client.ping', 'a', async () => STOP)
  bus.add('client.ping', 'b', after)
  await bus.run('client.ping', client)
  expect(after).not.toHaveBeenCalled()
})

test('a function that throws or rejects is logged with its stack, and the chain goes on with the value as it was', async () => {
  const { log, errors } = recordingLog()
  const bus = new HookBus(log)
  bus.add('message.puback', 'first', add(1))
  bus.add('message.puback', 'thrower', () => {
    throw new Error('no luck')
  })
  bus.add('message.puback', 'rejecter', async () => Promise.reject(new Error('no luck either')))
  bus.add('message.puback', 'bad filter', add(100), {
    filter: () => {
      throw new Error('nor here')
    },
  })
  bus.add('message.puback', 'last', times(10))
  expect(await fold(bus, 1)).toBe(20)
  expect(errors).toEqual([
    [
      { point: 'message.puback', hook: 'thrower', stack: expect.stringContaining('bus.test.ts') },
      'hook failed: no luck',
    ],
    [expect.objectContaining({ hook: 'rejecter' }), 'hook failed: no luck either'],
    [expect.objectContaining({ hook: 'bad filter' }), 'hook failed: nor here'],
  ])
})

test('a run goes on after a function that throws or rejects', async () => {
  const { log, errors } = recordingLog()
  const bus = new HookBus(log)
  const last = vi.fn()
  bus.add('client.ping', 'a', () => {
    throw new Error('x')
  })
  bus.add('client.ping', 'b', async () => Promise.reject(new Error('y')))
  bus.add('client.ping', 'c', last)
  await bus.run('client.ping', client)
  expect(last).toHaveBeenCalledOnce()
  expect(errors).toHaveLength(2)
})

const FAILURES: [string, () => never | Promise<never>][] = [
  [
    'throws',
    () => {
      throw new Error('x')
    },
  ],
  ['rejects', () => Promise.reject(new Error('x'))],
]

test.each(FAILURES)('an authentication hook that %s cuts the chain with a no', async (_, fail) => {
  const bus = new HookBus()
  bus.add('client.authenticate', 'broken', fail, { priority: 1 })
  bus.add('client.authenticate', 'yes', () => ({ stop: { kind: 'allow', principal: { isSuperuser: true } } }))
  const verdict = await bus.fold('client.authenticate', IGNORE, login)
  expect(verdict).toEqual({ kind: 'deny', reason: ReasonCode.NotAuthorized })
})

test.each(FAILURES)(
  'an authorization hook that %s cuts the chain with a no, even after a yes',
  async (_, fail) => {
    const bus = new HookBus()
    const yes: Authorization = { result: 'allow', from: 'yes' }
    bus.add('client.authorize', 'yes', () => ({ ok: yes }), { priority: 1 })
    bus.add('client.authorize', 'broken', fail)
    bus.add('client.authorize', 'too late', () => ({ stop: yes }), { priority: -1 })
    const result = await bus.fold('client.authorize', yes, client, { kind: 'subscribe', qos: 0 }, 't')
    expect(result.result).toBe('deny')
  },
)

test('a filter of an access hook that throws is a no, too', () => {
  const bus = new HookBus()
  bus.add('client.authenticate', 'broken', () => undefined, {
    filter: () => {
      throw new Error('x')
    },
  })
  expect(bus.fold('client.authenticate', IGNORE, login)).toMatchObject({ kind: 'deny' })
})

test('add refuses a name that is taken, put replaces it, del takes it away', () => {
  const bus = new HookBus()
  bus.add('message.puback', 'a', add(1))
  expect(() => bus.add('message.puback', 'a', add(2))).toThrow(BrokerError)
  expect(fold(bus, 0)).toBe(1)
  bus.put('message.puback', 'a', add(2))
  bus.put('message.puback', 'b', times(10))
  expect(fold(bus, 0)).toBe(20)
  expect(bus.del('message.puback', 'a')).toBe(true)
  expect(bus.del('message.puback', 'a')).toBe(false)
  expect(bus.has('message.puback')).toBe(true)
  bus.del('message.puback', 'b')
  expect(bus.has('message.puback')).toBe(false)
})

test.each(['message.unknown', '__proto__', 'toString', ''])('the point %j is refused', (point) => {
  const bus = new HookBus()
  expect(() => bus.add(point as 'client.ping', 'x', () => {})).toThrow(/no hookpoint/)
  expect(() => bus.put(point as 'client.ping', 'x', () => {})).toThrow(/no hookpoint/)
  expect(() => bus.del(point as 'client.ping', 'x')).toThrow(/no hookpoint/)
})

test('changing a chain while it runs is seen by the next call', async () => {
  const bus = new HookBus()
  bus.add('message.puback', 'a', async (value) => {
    bus.del('message.puback', 'b')
    bus.put('message.puback', 'c', add(100))
    return { ok: value }
  })
  bus.add('message.puback', 'b', add(1))
  expect(await fold(bus, 0)).toBe(1)
  expect(await fold(bus, 0)).toBe(100)
})

test('several waiting folds of one chain do not get in each other’s way', async () => {
  const bus = new HookBus()
  const releases: (() => void)[] = []
  bus.add(
    'message.puback',
    'wait',
    () => new Promise<undefined>((resolve) => releases.push(() => resolve(undefined))),
  )
  bus.add('message.puback', 'add', add(1))
  const results = [fold(bus, 1), fold(bus, 10), fold(bus, 100)]
  for (const release of releases.reverse()) release()
  expect(await Promise.all(results)).toEqual([2, 11, 101])
})

test('a promise of another realm is waited for: its no is not lost', async () => {
  const bus = new HookBus()
  const foreign = runInNewContext('(value) => Promise.resolve(value)') as (value: unknown) => unknown
  expect(foreign(1)).not.toBeInstanceOf(Promise)
  bus.add('client.authenticate', 'foreign', (() =>
    foreign({ stop: { kind: 'deny', reason: 0x86 } })) as never)
  bus.add('client.authenticate', 'yes', () => ({
    stop: { kind: 'allow', principal: { isSuperuser: false } },
  }))
  expect(await bus.fold('client.authenticate', IGNORE, login)).toEqual({ kind: 'deny', reason: 0x86 })

  const after = vi.fn()
  bus.add('client.ping', 'foreign', () => foreign(STOP))
  bus.add('client.ping', 'after', after)
  await bus.run('client.ping', client)
  expect(after).not.toHaveBeenCalled()
})

test('a fold point tells whether its functions are only for topics with $', () => {
  const bus = new HookBus()
  const fold = bus.foldAt('message.publish')
  expect([fold.isUsed, fold.isUsedByAll]).toEqual([false, false])
  bus.add('message.publish', 'reserved', () => undefined, { onlyReserved: true })
  expect([fold.isUsed, fold.isUsedByAll]).toEqual([true, false])
  bus.add('message.publish', 'all', () => undefined)
  expect([fold.isUsed, fold.isUsedByAll]).toEqual([true, true])
  bus.del('message.publish', 'all')
  expect([fold.isUsed, fold.isUsedByAll]).toEqual([true, false])
})

test('a fold point tells whether its functions keep nothing, but those for topics with $', () => {
  const bus = new HookBus()
  const fold = bus.foldAt('message.publish')
  expect(fold.keepsNothing).toBe(true)
  bus.add('message.publish', 'looks', () => undefined, { keepsNothing: true })
  bus.add('message.publish', 'reserved', () => undefined, { onlyReserved: true })
  expect(fold.keepsNothing).toBe(true)
  bus.add('message.publish', 'any', () => undefined)
  expect(fold.keepsNothing).toBe(false)
})

describe('a message whose topic does not begin with $', () => {
  const message = (topic: string) => Message.of(topic, Buffer.from('x'), 0, false, undefined, undefined, 0)
  const reservedSees = (change: FoldFunction<'message.publish'>) => {
    const bus = new HookBus()
    const seen = vi.fn()
    bus.add('message.publish', 'reserved', seen, { onlyReserved: true, priority: -1 })
    bus.add('message.publish', 'change', change)
    return { fold: bus.foldAt('message.publish'), seen }
  }

  test('is not shown to functions for such topics', () => {
    const { fold, seen } = reservedSees(() => undefined)
    const one = message('a')
    expect(fold.foldPlain(one)).toBe(one)
    expect(seen).not.toHaveBeenCalled()
  })

  test('of which a function makes nothing at all ends no chain with an exception', () => {
    const { fold } = reservedSees(() => ({ ok: null as never }))
    expect(() => fold.foldPlain(message('a'))).not.toThrow()
  })

  test.each<[string, FoldFunction<'message.publish'>]>([
    ['in place', (value) => void ((value as Message).topic = '$own/a') as undefined],
    ['for another one', () => ({ ok: message('$own/a') })],
    ['later', async () => ({ ok: message('$own/a') })],
  ])('is shown to them once another function has changed it %s', async (_, change) => {
    const { fold, seen } = reservedSees(change)
    expect(await fold.foldPlain(message('a'))).toMatchObject({ topic: '$own/a' })
    expect(seen).toHaveBeenCalledTimes(1)
  })
})
