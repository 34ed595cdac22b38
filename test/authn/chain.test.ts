import { afterEach, describe, expect, test, vi } from 'vitest'
import type { Authenticator } from '../../authn/authenticator.ts'
import { AuthnChain } from '../../authn/chain.ts'
import { AuthnChains } from '../../authn/chains.ts'
import type { Exchange, Verdict } from '../../model/access.ts'
import { BrokerError } from '../../model/errors.ts'
import { Expression } from '../../model/expression.ts'
import { silentLogger } from '../../model/log.ts'
import {
  ALLOW,
  clientOf,
  IGNORE,
  loginOf,
  NOT_AUTHORIZED,
  recordingLog,
  saying,
  WRONG_PASSWORD,
} from './fixtures.ts'

afterEach(() => void vi.useRealTimers())

function chainOf(...authenticators: Authenticator[]): AuthnChain {
  return new AuthnChain(
    'mqtt:global',
    authenticators.map((authenticator) => ({ authenticator, timeoutMs: 1000 })),
    silentLogger,
  )
}

const asked: string[] = []
const noted = (id: string, verdict: typeof ALLOW): Authenticator =>
  saying(id, () => {
    asked.push(id)
    return verdict
  })

test.each([
  ['the first yes ends it', [IGNORE, ALLOW, WRONG_PASSWORD], ALLOW, 2],
  ['the first no ends it', [IGNORE, WRONG_PASSWORD, ALLOW], WRONG_PASSWORD, 2],
  ['nobody knows', [IGNORE, IGNORE], IGNORE, 2],
  ['a single one', [ALLOW], ALLOW, 1],
  ['nobody there', [], IGNORE, 0],
])('order: %s', (_, verdicts, expected, calls) => {
  asked.length = 0
  const chain = chainOf(...verdicts.map((verdict, index) => noted(String(index), verdict)))
  expect(chain.authenticate(loginOf())).toEqual(expected)
  expect(asked).toEqual(['0', '1', '2'].slice(0, calls))
})

test('waits for slow ones in order', async () => {
  const chain = chainOf(
    saying('a', async () => IGNORE),
    saying('b', IGNORE),
    saying('c', async () => ALLOW),
    saying('d', WRONG_PASSWORD),
  )
  expect(await chain.authenticate(loginOf())).toBe(ALLOW)
})

test('a backend that fails has no opinion, is counted, and is told of once until it works again', async () => {
  const { log, lines } = recordingLog()
  let isUp = false
  const flaky = saying('x:y', async () => {
    if (!isUp) throw new BrokerError('BACKEND_FAILED', 'connection refused')
    return ALLOW
  })
  const chain = new AuthnChain('c', [{ authenticator: flaky, timeoutMs: 1000 }], log)

  for (let i = 0; i < 3; i++) expect(await chain.authenticate(loginOf())).toEqual(IGNORE)
  expect(lines).toEqual([
    { level: 'warn', fields: { authenticator: 'x:y' }, text: expect.stringContaining('connection refused') },
  ])
  isUp = true
  for (let i = 0; i < 2; i++) expect(await chain.authenticate(loginOf())).toEqual(ALLOW)
  expect(lines.map(({ level }) => level)).toEqual(['warn', 'info'])
  isUp = false
  await chain.authenticate(loginOf())
  expect(lines.map(({ level }) => level)).toEqual(['warn', 'info', 'warn'])
  expect(chain.links[0]?.counters).toEqual({ total: 6, success: 2, failed: 0, nomatch: 4 })
})

test('a bug in an authenticator has no opinion either, and its stack is logged', () => {
  const { log, lines } = recordingLog()
  const broken = saying('x', () => {
    throw new TypeError('oops')
  })
  const chain = new AuthnChain(
    'c',
    [broken, saying('y', ALLOW)].map((authenticator) => ({ authenticator, timeoutMs: 1 })),
    log,
  )
  expect(chain.authenticate(loginOf())).toBe(ALLOW)
  expect(lines[0]).toMatchObject({ level: 'error', fields: { stack: expect.stringContaining('TypeError') } })
})

test('one that takes too long has no opinion, is told to stop, and leaves no timer', async () => {
  vi.useFakeTimers()
  let signal: AbortSignal | undefined
  const hanging = saying('slow', (_, given) => {
    signal = given
    return new Promise(() => {})
  })
  const chain = chainOf(hanging, saying('next', ALLOW))
  const verdict = chain.authenticate(loginOf())
  await vi.advanceTimersByTimeAsync(999)
  expect(signal?.aborted).toBe(false)
  await vi.advanceTimersByTimeAsync(1)
  expect(await verdict).toBe(ALLOW)
  expect(signal?.aborted).toBe(true)
  expect(vi.getTimerCount()).toBe(0)
  expect(chain.links[0]?.counters.nomatch).toBe(1)
})

test('one that answers in time leaves no timer', async () => {
  vi.useFakeTimers()
  await chainOf(saying('a', async () => ALLOW)).authenticate(loginOf())
  expect(vi.getTimerCount()).toBe(0)
})

test('a client that has gone aborts the question, which is nobody’s failure', async () => {
  const { log, lines } = recordingLog()
  const gone = new AbortController()
  const waiting = saying(
    'x',
    (_, signal) =>
      new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(new Error('aborted')))),
  )
  const chain = new AuthnChain('c', [{ authenticator: waiting, timeoutMs: 10_000 }], log)
  const verdict = chain.authenticate(loginOf({ signal: gone.signal }))
  gone.abort()
  expect(await verdict).toEqual(IGNORE)
  expect(lines).toEqual([])
})

test('every authenticator counts what it said', () => {
  const answers = [ALLOW, WRONG_PASSWORD, IGNORE, ALLOW, NOT_AUTHORIZED]
  const chain = chainOf(
    saying('a', () => answers.shift() ?? IGNORE),
    saying('b', ALLOW),
  )
  for (let i = 0; i < 5; i++) void chain.authenticate(loginOf())
  expect(chain.links.map(({ counters }) => counters)).toEqual([
    { total: 5, success: 2, failed: 2, nomatch: 1 },
    { total: 1, success: 1, failed: 0, nomatch: 0 },
  ])
})

test('closing closes every authenticator, also after one that cannot', async () => {
  const close = vi.fn()
  const stubborn: Authenticator = { ...saying('a', ALLOW), close: () => Promise.reject(new Error('no')) }
  await chainOf(stubborn, { ...saying('b', ALLOW), close }).close()
  expect(close).toHaveBeenCalledOnce()
})

const named = (name: string) =>
  new AuthnChain(name, [{ authenticator: saying('x', ALLOW), timeoutMs: 1 }], silentLogger)

describe('a challenge', () => {
  const DATA = Buffer.from('answer')

  /** Asks once. */
  const asking = (id: string, next: Exchange['next']): Authenticator =>
    saying(id, { kind: 'continue', data: Buffer.from('question'), exchange: { next } })

  /** What the chain makes of the answer. */
  async function answer(chain: AuthnChain, signal = new AbortController().signal): Promise<Verdict> {
    const verdict = await chain.authenticate(loginOf({ authMethod: 'M' }))
    if (verdict.kind !== 'continue') throw new Error(`not asked: ${verdict.kind}`)
    expect(verdict.data).toEqual(Buffer.from('question'))
    return verdict.exchange.next(DATA, signal)
  }

  test.each([
    ['yes', ALLOW, { total: 1, success: 1, failed: 0, nomatch: 0 }],
    ['no', NOT_AUTHORIZED, { total: 1, success: 0, failed: 1, nomatch: 0 }],
    ['no opinion', IGNORE, { total: 1, success: 0, failed: 0, nomatch: 1 }],
  ])('ends the chain, and its answer is the one that asked’s to judge: %s', async (_, verdict, counters) => {
    const heard: unknown[] = []
    const one = asking('b', (data) => {
      heard.push(data)
      return verdict
    })
    const chain = chainOf(saying('a', IGNORE), one, saying('c', ALLOW))
    expect(await answer(chain)).toEqual(verdict)
    expect(heard).toEqual([DATA])
    expect(chain.links.map((link) => link.counters.total)).toEqual([1, 1, 0])
    expect(chain.links[1]?.counters).toEqual(counters)
  })

  test('whose answer takes too long to judge, or fails, is no yes', async () => {
    vi.useFakeTimers()
    const signals: AbortSignal[] = []
    const slow = answer(
      chainOf(
        asking('a', (_, signal) => {
          signals.push(signal)
          return new Promise(() => {})
        }),
      ),
    )
    await vi.advanceTimersByTimeAsync(1000)
    expect(await slow).toEqual(IGNORE)
    expect(signals.map((signal) => signal.aborted)).toEqual([true])
    const broken = asking('a', () => Promise.reject(new BrokerError('BACKEND_FAILED', 'gone')))
    expect(await answer(chainOf(broken))).toEqual(IGNORE)
  })

  test('may be followed by another', async () => {
    const last = { kind: 'continue', exchange: { next: () => ALLOW } } as const
    const chain = chainOf(asking('a', async () => last))
    const second = await answer(chain)
    if (second.kind !== 'continue') throw new Error('not asked again')
    expect(await second.exchange.next(DATA, new AbortController().signal)).toEqual(ALLOW)
    expect(chain.links[0]?.counters).toEqual({ total: 1, success: 1, failed: 0, nomatch: 0 })
  })
})

test.each([
  ['the global chain is for MQTT', ['mqtt:global'], { listener: 'tcp:default' }, 'mqtt:global'],
  [
    'a listener’s own replaces it',
    ['mqtt:global', 'tcp:default'],
    { listener: 'tcp:default' },
    'tcp:default',
  ],
  ['another listener’s does not', ['mqtt:global', 'ssl:default'], { listener: 'tcp:default' }, 'mqtt:global'],
  ['only the listener has one', ['tcp:default'], { listener: 'tcp:default' }, 'tcp:default'],
  ['nobody has one', [], { listener: 'tcp:default' }, undefined],
  [
    'a gateway has its own',
    ['mqtt:global', 'stomp:global'],
    { listener: 'stomp:tcp:a', gateway: 'stomp' },
    'stomp:global',
  ],
  [
    'the global chain is not for gateways',
    ['mqtt:global'],
    { listener: 'stomp:tcp:a', gateway: 'stomp' },
    undefined,
  ],
  [
    'a gateway’s listener has its own',
    ['mqtt:global', 'stomp:global', 'stomp:tcp:a'],
    { listener: 'stomp:tcp:a', gateway: 'stomp' },
    'stomp:tcp:a',
  ],
  [
    'an MQTT listener of the same name is another',
    ['tcp:a', 'stomp:global'],
    { listener: 'stomp:tcp:a', gateway: 'stomp' },
    'stomp:global',
  ],
])('which chain: %s', (_, names, client, expected) => {
  const chains = new AuthnChains(names.map(named))
  expect(chains.chainFor(clientOf(client))?.name).toBe(expected)
})

test.each([
  [
    'throws',
    () => {
      throw new BrokerError('BACKEND_FAILED', 'down')
    },
  ],
  ['rejects', () => Promise.reject(new BrokerError('BACKEND_FAILED', 'down'))],
  ['does not answer', () => new Promise<Verdict>(() => {})],
] as const)(
  'where its failure is to be a no, nobody behind an authenticator that %s is asked',
  async (_, answer) => {
    const { log, lines } = recordingLog()
    const failing = { authenticator: saying('a', answer), timeoutMs: 5, deniesOnFailure: true }
    const chain = new AuthnChain('c', [failing, { authenticator: saying('b', ALLOW), timeoutMs: 1000 }], log)

    expect(await chain.authenticate(loginOf())).toEqual({ kind: 'deny', reason: 0x88 })
    expect(lines.map(({ text }) => text)).toEqual([expect.stringContaining('clients are refused')])
  },
)

test('a precondition that fails is a failure, too', () => {
  const part = (deniesOnFailure: boolean) => ({
    authenticator: saying('a', ALLOW),
    timeoutMs: 1000,
    deniesOnFailure,
    precondition: new Expression("json_value(password, 'x')"),
  })
  const login = loginOf()
  expect(new AuthnChain('c', [part(false)], silentLogger).authenticate(login)).toEqual(IGNORE)
  expect(new AuthnChain('c', [part(true)], silentLogger).authenticate(login)).toEqual({
    kind: 'deny',
    reason: 0x88,
  })
})
