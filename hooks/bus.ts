/**
 * The hook bus. Features, plugins and ExHook attach functions to named points; the
 * broker calls the points. Chains are immutable arrays, replaced when one changes,
 * so changing the bus while a chain runs affects the next call and not this one.
 *
 * The way through a chain of synchronous functions makes no promise, no closure and
 * no argument array: hence the fixed number of arguments (a value and three more).
 */
import { isPromise, type MaybePromise } from '../model/async.ts'
import { BrokerError, messageOf } from '../model/errors.ts'
import { type Logger, silentLogger } from '../model/log.ts'
import { ReasonCode } from '../model/reason-codes.ts'
import {
  type FoldPoint,
  type FoldPoints,
  HOOK_POINTS,
  type HookPoint,
  type RunPoint,
  type RunPoints,
} from './hookpoints.ts'

/** Returned by a function to end the chain; a fold keeps the value it has. */
export const STOP: unique symbol = Symbol('stop')

export type FoldValue<P extends FoldPoint> = FoldPoints[P][0]

/** Undefined: unchanged, go on. `ok`: go on with it. `stop`: end with it. STOP: end with what there is. */
export type FoldResult<V> = undefined | { ok: V } | { stop: V } | typeof STOP

export type FoldFunction<P extends FoldPoint> = (
  ...args: FoldPoints[P]
) => MaybePromise<FoldResult<FoldValue<P>>>

/** Everything but STOP (or a promise of it) means: go on. */
export type RunFunction<P extends RunPoint> = (...args: RunPoints[P]) => unknown

export interface HookOptions<Args extends readonly unknown[]> {
  /** Higher ones run first, equal ones in order of adding. Default 0; the bus knows no limits. */
  priority?: number
  /** False skips the function for this call. */
  filter?: (...args: Args) => boolean
  /**
   * What the point would come to, where that is known before the function is called; else undefined. Asked in its place
   * by who calls a point for each message, if it is the only function there. Must not throw.
   * @param times - how many calls it stands for, if it counts them; 0 = it is only looked
   */
  known?: (times: number, ...args: Args) => Args[0] | undefined
  /** It has nothing to say about messages whose topic does not begin with `$`, behind the mountpoint if there is one. */
  onlyReserved?: boolean
  /**
   * It keeps nothing that it is given for longer than the call, or until its promise settles, so that the same message
   * may be made another one.
   */
  keepsNothing?: boolean
}

type AnyFunction = (value: unknown, a: unknown, b: unknown, c: unknown) => unknown

interface Hook {
  readonly name: string
  readonly priority: number
  readonly fn: AnyFunction
  readonly filter: AnyFunction | undefined
  readonly known: unknown
  readonly onlyReserved: boolean
  readonly keepsNothing: boolean
}

type Chain = readonly Hook[]

const EMPTY: Chain = []

/** Where a failed function must not let a client through: the chain is cut with these. */
const CUT_WITH: { readonly [P in FoldPoint]?: FoldValue<P> } = {
  'client.authenticate': { kind: 'deny', reason: ReasonCode.NotAuthorized },
  'client.authorize': { result: 'deny', from: 'hook_failed' },
}

export class HookBus {
  /**
   * Per point, whether anything is attached. For the points of the message path: reading a
   * property by its name there costs a tenth of calling `has`.
   */
  readonly used: Readonly<Record<HookPoint, boolean>>
  readonly #used: Record<HookPoint, boolean>
  readonly #chains: Record<HookPoint, Chain>
  readonly #folds = new Map<HookPoint, Fold<never>>()
  readonly #log: Logger

  constructor(log: Logger = silentLogger) {
    this.#log = log
    const points = Object.keys(HOOK_POINTS) as HookPoint[]
    this.#chains = Object.fromEntries(points.map((point) => [point, EMPTY])) as Record<HookPoint, Chain>
    this.#used = Object.fromEntries(points.map((point) => [point, false])) as Record<HookPoint, boolean>
    this.used = this.#used
  }

  /**
   * Attaches a function under a name of its own.
   * @throws BrokerError CONFIG_INVALID for an unknown point or a name that is taken
   */
  add<P extends FoldPoint>(
    point: P,
    name: string,
    fn: FoldFunction<P>,
    options?: HookOptions<FoldPoints[P]>,
  ): void
  add<P extends RunPoint>(
    point: P,
    name: string,
    fn: RunFunction<P>,
    options?: HookOptions<RunPoints[P]>,
  ): void
  add(point: HookPoint, name: string, fn: unknown, options: HookOptions<never> = {}): void {
    if (this.#chain(point).some((hook) => hook.name === name)) {
      throw new BrokerError('CONFIG_INVALID', `${name} is already attached to ${point}`)
    }
    this.#insert(point, hookOf(name, fn, options))
  }

  /**
   * Attaches a function; one that had the name before is replaced and its place taken anew.
   * @throws BrokerError CONFIG_INVALID for an unknown point
   */
  put<P extends FoldPoint>(
    point: P,
    name: string,
    fn: FoldFunction<P>,
    options?: HookOptions<FoldPoints[P]>,
  ): void
  put<P extends RunPoint>(
    point: P,
    name: string,
    fn: RunFunction<P>,
    options?: HookOptions<RunPoints[P]>,
  ): void
  put(point: HookPoint, name: string, fn: unknown, options: HookOptions<never> = {}): void {
    this.del(point, name)
    this.#insert(point, hookOf(name, fn, options))
  }

  /** @returns whether there was one. @throws BrokerError CONFIG_INVALID for an unknown point */
  del(point: HookPoint, name: string): boolean {
    const chain = this.#chain(point)
    const rest = chain.filter((hook) => hook.name !== name)
    this.#set(point, rest.length === 0 ? EMPTY : rest)
    return rest.length < chain.length
  }

  /** Whether anything is attached: asked before building what a point is to be given. */
  has(point: HookPoint): boolean {
    return this.#chains[point] !== EMPTY
  }

  /** A fold point for who calls it once per message: to look it up by its name each time costs more than to run it. */
  foldAt<P extends FoldPoint>(point: P): Fold<P> {
    let fold = this.#folds.get(point) as Fold<P> | undefined
    if (fold === undefined) {
      fold = new Fold(point, this.#chain(point), this.#log)
      this.#folds.set(point, fold as unknown as Fold<never>)
    }
    return fold
  }

  /**
   * Passes a value through the functions of a point. Never throws: a function that fails is
   * logged and skipped, at `client.authenticate` and `client.authorize` it ends the chain with a no.
   * @returns a promise only if a function returned one
   */
  fold<P extends FoldPoint>(point: P, ...args: FoldPoints[P]): MaybePromise<FoldValue<P>>
  fold(point: FoldPoint, value: unknown, a?: unknown, b?: unknown, c?: unknown): unknown {
    const chain = this.#chains[point]
    return chain === EMPTY ? value : foldFrom(0, chain, point, this.#log, undefined, value, a, b, c)
  }

  /** Notifies the functions of a point, in order, each after the one before it. Never throws, and nobody has to wait for it. */
  run<P extends RunPoint>(point: P, ...args: RunPoints[P]): void
  run(point: RunPoint, a?: unknown, b?: unknown, c?: unknown, d?: unknown): unknown {
    const chain = this.#chains[point]
    return chain === EMPTY ? undefined : this.#runFrom(0, chain, point, a, b, c, d)
  }

  #runFrom(
    start: number,
    chain: Chain,
    point: RunPoint,
    a: unknown,
    b: unknown,
    c: unknown,
    d: unknown,
  ): unknown {
    for (let i = start; i < chain.length; i++) {
      const hook = chain[i] as Hook
      try {
        if (hook.filter !== undefined && !hook.filter(a, b, c, d)) continue
        const result = hook.fn(a, b, c, d)
        if (result === STOP) return undefined
        if (isPromise(result) || isThenable(result))
          return this.#runLater(result, i, chain, point, a, b, c, d)
      } catch (error) {
        failed(this.#log, point, hook, error)
      }
    }
    return undefined
  }

  async #runLater(
    pending: PromiseLike<unknown>,
    index: number,
    chain: Chain,
    point: RunPoint,
    a: unknown,
    b: unknown,
    c: unknown,
    d: unknown,
  ): Promise<unknown> {
    try {
      if ((await pending) === STOP) return undefined
    } catch (error) {
      failed(this.#log, point, chain[index] as Hook, error)
    }
    return this.#runFrom(index + 1, chain, point, a, b, c, d)
  }

  #insert(point: HookPoint, hook: Hook): void {
    const chain = this.#chain(point)
    const at = chain.findIndex((other) => other.priority < hook.priority)
    this.#set(point, at < 0 ? [...chain, hook] : chain.toSpliced(at, 0, hook))
  }

  #set(point: HookPoint, chain: Chain): void {
    this.#chains[point] = chain
    this.#used[point] = chain !== EMPTY
    const fold = this.#folds.get(point)
    fold?.set(chain)
  }

  #chain(point: HookPoint): Chain {
    if (!Object.hasOwn(this.#chains, point)) {
      throw new BrokerError('CONFIG_INVALID', `there is no hookpoint ${JSON.stringify(point)}`)
    }
    return this.#chains[point]
  }
}

/** One fold point of a bus, which keeps its chain up to date. */
export class Fold<P extends FoldPoint> {
  /** Whether anything is attached. */
  isUsed = false
  /** Whether anything is that may concern other messages than those to topics with `$`. */
  isUsedByAll = false
  /** Whether all that may concern other messages say that they keep nothing. */
  keepsNothing = true
  /** See `HookOptions.known`. */
  known: ((times: number, ...args: FoldPoints[P]) => FoldValue<P> | undefined) | undefined
  readonly #point: P
  readonly #log: Logger
  #chain: Chain = EMPTY
  /** The one function that concerns other messages than those to topics with `$`; undefined if there are more, or none. */
  #only: AnyFunction | undefined
  /** Where in the chain it is. */
  #onlyAt = -1

  constructor(point: P, chain: Chain, log: Logger) {
    this.#point = point
    this.#log = log
    this.set(chain)
  }

  /** The bus's own. */
  set(chain: Chain): void {
    this.#chain = chain
    this.isUsed = chain !== EMPTY
    const [first] = chain
    const isAlone = chain.length === 1 && first?.filter === undefined
    this.known = isAlone ? (first?.known as typeof this.known) : undefined
    const forAll = chain.filter(({ onlyReserved }) => !onlyReserved)
    this.isUsedByAll = forAll.length > 0
    this.keepsNothing = forAll.every(({ keepsNothing }) => keepsNothing)
    const [only] = forAll
    this.#only = forAll.length === 1 && only?.filter === undefined ? only?.fn : undefined
    this.#onlyAt = chain.indexOf(only as Hook)
  }

  /** As `HookBus.fold`. */
  fold(...args: FoldPoints[P]): MaybePromise<FoldValue<P>>
  fold(value: unknown, a?: unknown, b?: unknown, c?: unknown): unknown {
    const chain = this.#chain
    return chain === EMPTY ? value : foldFrom(0, chain, this.#point, this.#log, undefined, value, a, b, c)
  }

  /** The same for a message whose topic does not begin with `$`: see `HookOptions.onlyReserved`. */
  foldPlain(message: FoldValue<P> & Headed): MaybePromise<FoldValue<P>>
  foldPlain(message: Headed): unknown {
    const chain = this.#chain
    const only = this.#only
    const { head } = message
    const { topic } = head
    if (only === undefined) return foldFrom(0, chain, this.#point, this.#log, topic, message)
    // Most often there is one, which has nothing to say: it is called from here, where the engine can make it part of this.
    let result: unknown
    try {
      result = only(message, undefined, undefined, undefined)
    } catch (error) {
      result = failed(this.#log, this.#point, chain[this.#onlyAt] as Hook, error)
    }
    if (result === undefined && message.head === head) return message
    return goOn(result, this.#onlyAt, chain, this.#point, this.#log, topic, message)
  }
}

interface AboutTopic {
  readonly topic: string
}

/** A message, which has another head once it has been changed. */
interface Headed extends AboutTopic {
  readonly head: AboutTopic
}

/** @param plain - a topic that does not begin with `$`: as long as it is the value's, some functions are left out */
function foldFrom(
  start: number,
  chain: Chain,
  point: FoldPoint,
  log: Logger,
  plain: string | undefined,
  value: unknown,
  a?: unknown,
  b?: unknown,
  c?: unknown,
): unknown {
  for (let i = start; i < chain.length; i++) {
    const hook = chain[i] as Hook
    let result: unknown
    try {
      // A function before it may have changed the topic.
      if (hook.onlyReserved && plain !== undefined && (value as AboutTopic).topic === plain) continue
      if (hook.filter !== undefined && !hook.filter(value, a, b, c)) continue
      result = hook.fn(value, a, b, c)
    } catch (error) {
      result = failed(log, point, hook, error)
    }
    if (result !== undefined) return goOn(result, i, chain, point, log, plain, value, a, b, c)
  }
  return value
}

/** Goes on after the function at `index` has said something. */
function goOn(
  result: unknown,
  index: number,
  chain: Chain,
  point: FoldPoint,
  log: Logger,
  plain: string | undefined,
  value: unknown,
  a?: unknown,
  b?: unknown,
  c?: unknown,
): unknown {
  if (isPromise(result)) return foldLater(result, index, chain, point, log, plain, value, a, b, c)
  if (result === STOP) return value
  let next = value
  if (isObject(result)) {
    if ('stop' in result) return result.stop
    if ('ok' in result) next = result.ok
    else if (isThenable(result)) return foldLater(result, index, chain, point, log, plain, value, a, b, c)
  }
  return foldFrom(index + 1, chain, point, log, plain, next, a, b, c)
}

/** Goes on after the function at `index` has kept us waiting. */
async function foldLater(
  pending: PromiseLike<unknown>,
  index: number,
  chain: Chain,
  point: FoldPoint,
  log: Logger,
  plain: string | undefined,
  value: unknown,
  a: unknown,
  b: unknown,
  c: unknown,
): Promise<unknown> {
  let result: unknown
  try {
    result = await pending
  } catch (error) {
    result = failed(log, point, chain[index] as Hook, error)
  }
  return goOn(result, index, chain, point, log, plain, value, a, b, c)
}

/** @returns what the chain goes on with: a no where an exception must never become a yes, else nothing */
function failed(log: Logger, point: HookPoint, hook: Hook, error: unknown): { stop: unknown } | undefined {
  const stack = error instanceof Error ? error.stack : undefined
  log.error({ point, hook: hook.name, stack }, `hook failed: ${messageOf(error)}`)
  const cut: unknown = (CUT_WITH as Record<string, unknown>)[point]
  return cut === undefined ? undefined : { stop: cut }
}

function hookOf(name: string, fn: unknown, options: HookOptions<never>): Hook {
  return {
    name,
    priority: options.priority ?? 0,
    fn: fn as AnyFunction,
    filter: options.filter as AnyFunction | undefined,
    known: options.known,
    onlyReserved: options.onlyReserved === true,
    keepsNothing: options.keepsNothing === true,
  }
}

function isObject(value: unknown): value is object & { ok?: unknown; stop?: unknown } {
  return typeof value === 'object' && value !== null
}

/** A promise of another library or realm, as a plugin may return: taking it for "no opinion" would lose its no. */
function isThenable(value: unknown): value is PromiseLike<unknown> {
  return isObject(value) && 'then' in value && typeof value.then === 'function'
}
