import type { Exchange, Login, Verdict } from '../model/access.ts'
import { isPromise, type MaybePromise, withDeadline } from '../model/async.ts'
import { faultOf, messageOf } from '../model/errors.ts'
import type { Expression } from '../model/expression.ts'
import type { Logger } from '../model/log.ts'
import { ReasonCode } from '../model/reason-codes.ts'
import type { Authenticator } from './authenticator.ts'
import { isTrueFor } from './precondition.ts'

export interface AuthenticatorCounters {
  total: number
  success: number
  failed: number
  /** Answered `ignore`, failed or timed out. */
  nomatch: number
}

export interface ChainPart {
  readonly authenticator: Authenticator
  /** What takes longer counts as failed. */
  readonly timeoutMs: number
  /** Its failure is a no: nobody after it is asked. */
  readonly deniesOnFailure?: boolean | undefined
  /** Where it does not give `true`, the authenticator is not asked. */
  readonly precondition?: Expression | undefined
}

/** One authenticator in its place in a chain. */
export interface Link extends ChainPart {
  readonly counters: AuthenticatorCounters
  /** The last attempt failed: said once, until it works again. */
  isFailing: boolean
}

const IGNORE: Verdict = { kind: 'ignore' }
/** Of an authenticator that failed and may not be passed over. */
export const UNAVAILABLE: Verdict = { kind: 'deny', reason: ReasonCode.ServerUnavailable }

/** A login, or the answer to a challenge. */
type Question = (signal: AbortSignal) => MaybePromise<Verdict>

/** Authenticators in order: the first definitive answer ends the chain. */
export class AuthnChain {
  readonly name: string
  readonly links: readonly Link[]
  readonly #log: Logger
  /** Logins, and answers to challenges, that are being decided. */
  #pending = 0
  /** Called when there are none any more. */
  #onIdle: (() => void) | undefined

  constructor(name: string, authenticators: readonly ChainPart[], log: Logger) {
    this.name = name
    this.links = authenticators.map((part) => ({
      ...part,
      counters: { total: 0, success: 0, failed: 0, nomatch: 0 },
      isFailing: false,
    }))
    this.#log = log.child({ chain: name })
  }

  /**
   * Never throws. A backend that fails or takes too long counts as having no opinion, or is a no.
   * @returns `ignore` if nobody had an opinion, which the caller takes for a no
   */
  authenticate(login: Login): MaybePromise<Verdict> {
    return this.#counted(this.#askFrom(0, login))
  }

  /** Nobody waits for an answer. */
  get isIdle(): boolean {
    return this.#pending === 0
  }

  /** Does not close before `work` has ended, which asks the authenticators past this chain: see explain.ts. */
  async hold<T>(work: Promise<T>): Promise<T> {
    this.#pending++
    try {
      return await work
    } finally {
      if (--this.#pending === 0) this.#onIdle?.()
    }
  }

  /** Closes once the logins under way have their answers, which takes no longer than its authenticators may. */
  async retire(): Promise<void> {
    if (!this.isIdle) await new Promise<void>((resolve) => (this.#onIdle = resolve))
    await this.close()
  }

  async close(): Promise<void> {
    await Promise.allSettled(this.links.map(async ({ authenticator }) => authenticator.close()))
  }

  #counted(verdict: MaybePromise<Verdict>): MaybePromise<Verdict> {
    if (!isPromise(verdict)) return verdict
    this.#pending++
    return verdict.finally(() => {
      if (--this.#pending === 0) this.#onIdle?.()
    })
  }

  #askFrom(start: number, login: Login): MaybePromise<Verdict> {
    for (let i = start; i < this.links.length; i++) {
      const link = this.links[i] as Link
      link.counters.total++
      const isFor = this.#isFor(link, login)
      if (isFor !== true) {
        link.counters.nomatch++
        if (isFor === undefined && link.deniesOnFailure === true) return UNAVAILABLE
        continue
      }
      const verdict = this.#ask(link, login.signal, (signal) =>
        link.authenticator.authenticate(login, signal),
      )
      if (isPromise(verdict)) return this.#goOn(verdict, i, login)
      if (verdict.kind !== 'ignore') return verdict
    }
    return IGNORE
  }

  /** Undefined: nobody knows, the expression fails for this client. */
  #isFor({ precondition }: Link, login: Login): boolean | undefined {
    return precondition === undefined || isTrueFor(precondition, login, this.#log)
  }

  async #goOn(pending: Promise<Verdict>, index: number, login: Login): Promise<Verdict> {
    const verdict = await pending
    return verdict.kind === 'ignore' ? this.#askFrom(index + 1, login) : verdict
  }

  /** @param leaving - aborts when the client has gone */
  #ask(link: Link, leaving: AbortSignal | undefined, question: Question): MaybePromise<Verdict> {
    const deadline = new AbortController()
    const signal = leaving === undefined ? deadline.signal : AbortSignal.any([deadline.signal, leaving])
    try {
      const verdict = question(signal)
      return isPromise(verdict) ? this.#wait(link, leaving, verdict, deadline) : this.#answered(link, verdict)
    } catch (error) {
      return this.#failed(link, leaving, error)
    }
  }

  async #wait(
    link: Link,
    leaving: AbortSignal | undefined,
    pending: Promise<Verdict>,
    deadline: AbortController,
  ): Promise<Verdict> {
    try {
      const { id } = link.authenticator
      return this.#answered(link, await withDeadline(pending, link.timeoutMs, id, () => deadline.abort()))
    } catch (error) {
      return this.#failed(link, leaving, error)
    }
  }

  #answered(link: Link, verdict: Verdict): Verdict {
    if (link.isFailing) {
      link.isFailing = false
      this.#log.info({ authenticator: link.authenticator.id }, 'authenticator works again')
    }
    if (verdict.kind === 'continue') return { ...verdict, exchange: this.#guard(link, verdict.exchange) }
    if (verdict.kind === 'allow') link.counters.success++
    else if (verdict.kind === 'deny') link.counters.failed++
    else link.counters.nomatch++
    return verdict
  }

  /** What holds for the first question holds for the answers to challenges: deadline, counters, and no failure is a yes. */
  #guard(link: Link, exchange: Exchange): Exchange {
    return {
      next: (data, leaving) =>
        this.#counted(this.#ask(link, leaving, (signal) => exchange.next(data, signal))),
    }
  }

  #failed(link: Link, leaving: AbortSignal | undefined, error: unknown): Verdict {
    link.counters.nomatch++
    const verdict = link.deniesOnFailure === true ? UNAVAILABLE : IGNORE
    // A client that left is not the backend's failure.
    if (leaving?.aborted === true || link.isFailing) return verdict
    link.isFailing = true
    const fields = { authenticator: link.authenticator.id }
    const means = verdict === IGNORE ? 'its answers count as none' : 'clients are refused'
    const text = `authenticator failed, ${means} until it works: ${messageOf(error)}`
    if (faultOf(error) !== 'bug') this.#log.warn(fields, text)
    else this.#log.error({ ...fields, stack: error instanceof Error ? error.stack : undefined }, text)
    return verdict
  }
}
