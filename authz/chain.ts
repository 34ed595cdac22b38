import { AuthorizationCounts } from '../broker/metrics.ts'
import type { FoldResult } from '../hooks/bus.ts'
import type { Authorization } from '../hooks/hookpoints.ts'
import type { Action, Permission, Rule, Who } from '../model/access.ts'
import { isPromise, type MaybePromise } from '../model/async.ts'
import type { ClientInfo } from '../model/client-info.ts'
import { faultOf, messageOf } from '../model/errors.ts'
import type { Logger } from '../model/log.ts'
import { Pattern } from '../model/pattern.ts'
import type { AuthzCache, CachedAnswer } from './cache.ts'
import { checkedTopic } from './checked-topic.ts'
import { type CompiledRule, compileRules, firstMatch } from './rule.ts'
import { SettledAnswers } from './settled-answers.ts'
import type { Source, SourceAnswer } from './source.ts'

type Result = FoldResult<Authorization>
type Publish = Extract<Action, { kind: 'publish' }>

export interface ChainOptions {
  noMatch: Permission
  /** When a source failed and no other decided: true = `noMatch`, false = deny. */
  ignoreBackendFailures: boolean
  /** Types of the sources whose failure is a no at once; that of others passes the question on. */
  denyOnFailure?: ReadonlySet<string>
  /** Rules are about topics with the client's mountpoint before them; false: as the client writes them. */
  includeMountpoint?: boolean
}

export interface SourceCounters {
  total: number
  allow: number
  deny: number
  nomatch: number
  /** Failed, and was passed over. */
  ignore: number
}

/** One source in its place in the chain. */
export interface SourceLink {
  readonly source: Source
  readonly counters: SourceCounters
  readonly allow: Result
  readonly deny: Result
  /** Its failure ends the chain with a no. */
  readonly deniesOnFailure: boolean
  /** The last attempt failed. */
  isFailing: boolean
  /** Said that it fails, and not yet that it works again. */
  isSaid: boolean
  /** When that was said last, by a clock of milliseconds that nobody sets. */
  saidAtMs: number
}

/** What came with a login. */
interface LoginRules {
  readonly rules: readonly CompiledRule[]
  /** What they say depends on more than client, action and topic, so nothing about it is remembered. */
  readonly mayChange: boolean
}

const SAY_AGAIN_MS = 60_000

const SUPERUSER: Result = { stop: { result: 'allow', from: 'superuser' } }
const CACHED_ALLOW: { stop: Authorization } = { stop: { result: 'allow', from: 'cache' } }
const CACHED_DENY: { stop: Authorization } = { stop: { result: 'deny', from: 'cache' } }
const ACL_ALLOW: Result = { stop: { result: 'allow', from: 'acl' } }
const ACL_DENY: Result = { stop: { result: 'deny', from: 'acl' } }
const LOGIN_EXPIRED: Result = { stop: { result: 'deny', from: 'expired' } }
const FAILED: Result = { ok: { result: 'deny', from: 'source_failed' } }
const FAILED_FOR_GOOD: Result = { stop: { result: 'deny', from: 'source_failed' } }

/** Superusers, the cache, the rules that came with the login, then the sources in order. */
export class AuthzChain {
  readonly links: readonly SourceLink[]
  readonly counters: AuthorizationCounts
  readonly #options: ChainOptions
  readonly #cache: AuthzCache | undefined
  readonly #now: () => number
  readonly #log: Logger
  readonly #unaskedAnswer: Authorization
  readonly #noMatch: Result
  readonly #settled: SettledAnswers
  /** By the first source. */
  readonly #allowed: Authorization
  readonly #denied: Authorization
  /** Decisions that wait for a source. */
  #pending = 0
  #whenIdle: (() => void) | undefined
  /** Rules of logins, compiled once. */
  readonly #acls = new WeakMap<readonly Rule[], LoginRules>()

  /**
   * @param now - Unix time in milliseconds
   * @param counters - where it counts on
   */
  constructor(
    sources: readonly Source[],
    options: ChainOptions,
    cache: AuthzCache | undefined,
    now: () => number,
    log: Logger,
    counters: AuthorizationCounts = new AuthorizationCounts(),
  ) {
    this.counters = counters
    this.links = sources.map((source) => ({
      source,
      counters: { total: 0, allow: 0, deny: 0, nomatch: 0, ignore: 0 },
      allow: { stop: { result: 'allow', from: source.type } },
      deny: { stop: { result: 'deny', from: source.type } },
      deniesOnFailure: options.denyOnFailure?.has(source.type) === true,
      isFailing: false,
      isSaid: false,
      saidAtMs: Number.NEGATIVE_INFINITY,
    }))
    this.#options = options
    this.#cache = cache
    this.#now = now
    this.#log = log
    this.#unaskedAnswer = { result: options.noMatch, from: 'default' }
    this.#noMatch = { ok: this.#unaskedAnswer }
    const first = this.links[0]?.source
    this.#allowed = { result: 'allow', from: first?.type ?? '' }
    this.#denied = { result: 'deny', from: first?.type ?? '' }
    this.#settled = new SettledAnswers((client, action) => first?.settled?.(client, action))
  }

  /**
   * The function for `client.authorize`. What a rule says ends the chain of hooks; where none
   * is about it, later hooks may decide. Never throws.
   * @param topic - as the peer sent it: `$share/...`, `$delayed/...` and the like are taken off here
   */
  readonly authorize = (
    value: Authorization,
    client: ClientInfo,
    action: Action,
    topic: string,
  ): MaybePromise<Result> => {
    this.counters.total++
    if (client.isSuperuser) {
      this.counters.superuser++
      return this.#counted(SUPERUSER)
    }
    if (client.acl !== undefined && (client.authExpiresAtMs ?? Number.POSITIVE_INFINITY) <= this.#now()) {
      return this.#counted(LOGIN_EXPIRED)
    }
    const own = this.#rulesOf(client.acl)
    const cache = action.kind === 'publish' && own?.mayChange !== true ? this.#cache : undefined
    if (action.kind === 'publish' && cache !== undefined) {
      const known = cache.get(client, action, topic)
      if (known !== undefined) {
        this.counters.cacheHit++
        if (known === 'nomatch') return this.#undecided(value, false)
        this.counters[known]++
        return known === 'allow' ? CACHED_ALLOW : CACHED_DENY
      }
      this.counters.cacheMiss++
    }
    const said = own && firstMatch(own.rules, client, action, this.#topicOf(client, action, topic))
    const since = cache?.generation
    if (said === undefined) return this.#askFrom(0, false, since, value, client, action, topic)
    this.#remember(since, client, action, topic, said)
    return this.#matched(said, said === 'allow' ? ACL_ALLOW : ACL_DENY)
  }

  /**
   * What `authorize` would say, where nobody has to be asked: there are no sources, it does not depend on the topic, or
   * it is remembered. Undefined: ask it. Not for superusers and clients with rules of their login. Counts as
   * `authorize` does, but for an answer that does not depend on the topic, which counts as one of the first source.
   * @param times - how often it counts
   */
  known(times: number, client: ClientInfo, action: Action, topic: string): Authorization | undefined {
    if (client.isSuperuser || client.acl !== undefined) return undefined
    if (this.links.length === 0) return this.#unasked(times)
    if (action.kind !== 'publish') return undefined
    const settled = this.#settled.get(client, action)
    return settled === undefined
      ? this.#remembered(times, client, action, topic)
      : this.#countSettled(times, settled)
  }

  /** A client whose rights have changed while it is connected; all of them if left out. */
  forget(client?: ClientInfo): void {
    if (client === undefined) {
      this.#settled.clear()
      this.#cache?.clear()
    } else {
      this.#settled.forget(client)
      this.#cache?.forget(client)
    }
  }

  /** Nothing is being decided. */
  get isIdle(): boolean {
    return this.#pending === 0
  }

  /** Does not close before `work` has ended, which asks the sources past this chain: see explain.ts. */
  async hold<T>(work: Promise<T>): Promise<T> {
    this.#pending++
    try {
      return await work
    } finally {
      if (--this.#pending === 0) this.#whenIdle?.()
    }
  }

  /** Closes once what is being decided is decided: nobody is to be asked any more. */
  async retire(): Promise<void> {
    if (!this.isIdle) await new Promise<void>((resolve) => (this.#whenIdle = resolve))
    await this.close()
  }

  async close(): Promise<void> {
    await Promise.allSettled(this.links.map(async ({ source }) => source.close()))
  }

  /** There are no sources. */
  #unasked(times: number): Authorization {
    const { counters } = this
    counters.total += times
    counters.nomatch += times
    if (this.#unaskedAnswer.result === 'allow') counters.allow += times
    else counters.deny += times
    return this.#unaskedAnswer
  }

  // Counters by their names, as the next two are called for each message.

  /** What the first source says about every topic. */
  #countSettled(times: number, settled: Permission): Authorization {
    const { counters } = this.links[0] as SourceLink
    this.counters.total += times
    counters.total += times
    if (settled === 'allow') {
      counters.allow += times
      this.counters.matchedAllow += times
      this.counters.allow += times
      return this.#allowed
    }
    counters.deny += times
    this.counters.matchedDeny += times
    this.counters.deny += times
    return this.#denied
  }

  #remembered(times: number, client: ClientInfo, action: Publish, topic: string): Authorization | undefined {
    const answer = this.#cache?.get(client, action, topic)
    if (answer !== 'allow' && answer !== 'deny') return undefined
    this.counters.total += times
    this.counters.cacheHit += times
    if (answer === 'allow') this.counters.allow += times
    else this.counters.deny += times
    return answer === 'allow' ? CACHED_ALLOW.stop : CACHED_DENY.stop
  }

  #topicOf(client: ClientInfo, action: Action, topic: string): string {
    const checked = checkedTopic(action, topic)
    return this.#options.includeMountpoint === true ? client.mountpoint + checked : checked
  }

  #rulesOf(acl: readonly Rule[] | undefined): LoginRules | undefined {
    if (acl === undefined) return undefined
    let known = this.#acls.get(acl)
    if (known === undefined) {
      known = { rules: compileRules(acl), mayChange: acl.some(({ who }) => isClock(who)) }
      this.#acls.set(acl, known)
    }
    return known
  }

  /**
   * @param failed - whether a source asked before has failed
   * @param since - generation of the cache when the first one was asked
   */
  #askFrom(
    start: number,
    failed: boolean,
    since: number | undefined,
    value: Authorization,
    client: ClientInfo,
    action: Action,
    topic: string,
  ): MaybePromise<Result> {
    const checked = this.#topicOf(client, action, topic)
    let hasFailed = failed
    for (let i = start; i < this.links.length; i++) {
      const link = this.links[i] as SourceLink
      const answer = this.#ask(link, client, action, checked)
      if (isPromise(answer)) return this.#goOn(answer, i, hasFailed, since, value, client, action, topic)
      if (answer === 'allow' || answer === 'deny')
        return this.#decided(link, answer, hasFailed, since, client, action, topic)
      if (answer === 'failed' && link.deniesOnFailure) return this.#counted(FAILED_FOR_GOOD)
      hasFailed ||= answer === 'failed'
    }
    // What a failed source would have said is not known, so it is not remembered.
    if (!hasFailed) this.#remember(since, client, action, topic, 'nomatch')
    return this.#undecided(value, hasFailed)
  }

  async #goOn(
    pending: Promise<SourceAnswer>,
    index: number,
    failed: boolean,
    since: number | undefined,
    value: Authorization,
    client: ClientInfo,
    action: Action,
    topic: string,
  ): Promise<Result> {
    const link = this.links[index] as SourceLink
    let hasFailed = failed
    this.#pending++
    try {
      const answer = await pending
      this.#answered(link, answer)
      if (answer !== 'ignore') return this.#decided(link, answer, hasFailed, since, client, action, topic)
    } catch (error) {
      this.#failed(link, error)
      if (link.deniesOnFailure) return this.#counted(FAILED_FOR_GOOD)
      hasFailed = true
    } finally {
      // Later than the next source is asked, which counts again.
      if (--this.#pending === 0) queueMicrotask(() => this.isIdle && this.#whenIdle?.())
    }
    return this.#askFrom(index + 1, hasFailed, since, value, client, action, topic)
  }

  #ask(
    link: SourceLink,
    client: ClientInfo,
    action: Action,
    topic: string,
  ): SourceAnswer | 'failed' | Promise<SourceAnswer> {
    link.counters.total++
    try {
      const answer = link.source.authorize(client, action, topic)
      return isPromise(answer) ? answer : this.#answered(link, answer)
    } catch (error) {
      this.#failed(link, error)
      return 'failed'
    }
  }

  #answered(link: SourceLink, answer: SourceAnswer): SourceAnswer {
    link.isFailing = false
    if (link.isSaid) {
      link.isSaid = false
      this.#log.info({ source: link.source.type }, 'authorization source works again')
    }
    link.counters[answer === 'ignore' ? 'nomatch' : answer]++
    return answer
  }

  /** Said once until it works again, and once a minute: it may be what it knows of one client only. */
  #failed(link: SourceLink, error: unknown): void {
    link.counters.ignore++
    const nowMs = performance.now()
    if (link.isFailing || nowMs - link.saidAtMs < SAY_AGAIN_MS) return
    link.isFailing = true
    link.isSaid = true
    link.saidAtMs = nowMs
    const fields = { source: link.source.type }
    const means = link.deniesOnFailure ? 'and nothing is allowed' : 'and is passed over'
    const text = `authorization source failed ${means} until it works: ${messageOf(error)}`
    if (faultOf(error) !== 'bug') this.#log.warn(fields, text)
    else this.#log.error({ ...fields, stack: error instanceof Error ? error.stack : undefined }, text)
  }

  #decided(
    link: SourceLink,
    answer: Permission,
    afterFailure: boolean,
    since: number | undefined,
    client: ClientInfo,
    action: Action,
    topic: string,
  ): Result {
    if (!afterFailure) this.#remember(since, client, action, topic, answer)
    return this.#matched(answer, answer === 'allow' ? link.allow : link.deny)
  }

  #matched(answer: Permission, result: Result): Result {
    this.counters[answer === 'allow' ? 'matchedAllow' : 'matchedDeny']++
    return this.#counted(result)
  }

  /** What an earlier hook has said already counts more than the default. */
  #undecided(value: Authorization, hasFailed: boolean): Result {
    this.counters.nomatch++
    if (hasFailed && !this.#options.ignoreBackendFailures) return this.#counted(FAILED)
    if (value.from !== 'default') return undefined
    return this.#counted(this.#noMatch)
  }

  #counted(result: Result): Result {
    if (typeof result === 'object') {
      const { result: permission } = 'stop' in result ? result.stop : result.ok
      this.counters[permission]++
    }
    return result
  }

  /** Not what somebody was asked before the cache has forgotten something: rules or rights may be others by now. */
  #remember(
    since: number | undefined,
    client: ClientInfo,
    action: Action,
    topic: string,
    answer: CachedAnswer,
  ): void {
    const cache = this.#cache
    if (action.kind === 'publish' && cache !== undefined && cache.generation === since)
      cache.set(client, action, topic, answer)
  }
}

/** Such as "its token has expired by now": not a text, nor a pattern for one. */
function isClock(who: Who): boolean {
  return 'is' in who && typeof who.is === 'object' && !(who.is instanceof Pattern)
}
