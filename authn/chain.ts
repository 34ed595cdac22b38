import type { Login, Verdict } from '../model/access.ts'
import { isPromise, type MaybePromise, withDeadline } from '../model/async.ts'
import { faultOf, messageOf } from '../model/errors.ts'
import type { Logger } from '../model/log.ts'
import type { Authenticator } from './authenticator.ts'

export interface AuthenticatorCounters {
  total: number
  success: number
  failed: number
  /** Answered `ignore`, failed or timed out. */
  nomatch: number
}

/** One authenticator in its place in a chain. */
export interface Link {
  readonly authenticator: Authenticator
  /** What takes longer counts as failed. */
  readonly timeoutMs: number
  readonly counters: AuthenticatorCounters
  /** The last attempt failed: said once, until it works again. */
  isFailing: boolean
}

const IGNORE: Verdict = { kind: 'ignore' }

/** Authenticators in order: the first definitive answer ends the chain. */
export class AuthnChain {
  readonly name: string
  readonly links: readonly Link[]
  readonly #log: Logger

  constructor(
    name: string,
    authenticators: readonly { authenticator: Authenticator; timeoutMs: number }[],
    log: Logger,
  ) {
    this.name = name
    this.links = authenticators.map(({ authenticator, timeoutMs }) => ({
      authenticator,
      timeoutMs,
      counters: { total: 0, success: 0, failed: 0, nomatch: 0 },
      isFailing: false,
    }))
    this.#log = log.child({ chain: name })
  }

  /**
   * Never throws. A backend that fails or takes too long counts as having no opinion.
   * @returns `ignore` if nobody had an opinion, which the caller takes for a no
   */
  authenticate(login: Login): MaybePromise<Verdict> {
    return this.#askFrom(0, login)
  }

  async close(): Promise<void> {
    await Promise.allSettled(this.links.map(async ({ authenticator }) => authenticator.close()))
  }

  #askFrom(start: number, login: Login): MaybePromise<Verdict> {
    for (let i = start; i < this.links.length; i++) {
      const verdict = this.#ask(this.links[i] as Link, login)
      if (isPromise(verdict)) return this.#goOn(verdict, i, login)
      if (verdict.kind !== 'ignore') return verdict
    }
    return IGNORE
  }

  async #goOn(pending: Promise<Verdict>, index: number, login: Login): Promise<Verdict> {
    const verdict = await pending
    return verdict.kind === 'ignore' ? this.#askFrom(index + 1, login) : verdict
  }

  #ask(link: Link, login: Login): MaybePromise<Verdict> {
    link.counters.total++
    const deadline = new AbortController()
    const signal =
      login.signal === undefined ? deadline.signal : AbortSignal.any([deadline.signal, login.signal])
    try {
      const verdict = link.authenticator.authenticate(login, signal)
      return isPromise(verdict) ? this.#wait(link, login, verdict, deadline) : this.#answered(link, verdict)
    } catch (error) {
      return this.#failed(link, login, error)
    }
  }

  async #wait(
    link: Link,
    login: Login,
    pending: Promise<Verdict>,
    deadline: AbortController,
  ): Promise<Verdict> {
    try {
      const { id } = link.authenticator
      return this.#answered(link, await withDeadline(pending, link.timeoutMs, id, () => deadline.abort()))
    } catch (error) {
      return this.#failed(link, login, error)
    }
  }

  #answered(link: Link, verdict: Verdict): Verdict {
    if (link.isFailing) {
      link.isFailing = false
      this.#log.info({ authenticator: link.authenticator.id }, 'authenticator works again')
    }
    if (verdict.kind === 'allow') link.counters.success++
    else if (verdict.kind === 'deny') link.counters.failed++
    else link.counters.nomatch++
    return verdict
  }

  #failed(link: Link, login: Login, error: unknown): Verdict {
    link.counters.nomatch++
    // A client that left is not the backend's failure.
    if (login.signal?.aborted === true || link.isFailing) return IGNORE
    link.isFailing = true
    const fields = { authenticator: link.authenticator.id }
    const text = `authenticator failed, its answers count as none until it works: ${messageOf(error)}`
    if (faultOf(error) !== 'bug') this.#log.warn(fields, text)
    else this.#log.error({ ...fields, stack: error instanceof Error ? error.stack : undefined }, text)
    return IGNORE
  }
}
