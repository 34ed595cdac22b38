import type { MaybePromise } from '../model/async.ts'
import type { ClientInfo } from '../model/client-info.ts'
import type { DisconnectReason } from '../model/disconnect-reason.ts'
import { Deadline } from '../model/timers.ts'
import type { SessionOptions, Will } from './broker.ts'
import type { HubClient } from './client.ts'
import type { Hub } from './hub.ts'
import { publishWill } from './publish-will.ts'
import { restoreSession } from './restoring.ts'
import { Session } from './session.ts'
import type { SessionContext } from './session-context.ts'
import { returnedClient, SessionMirror } from './session-mirror.ts'
import type { DurableStore, StoredClient, StoredSession, WaitingWill } from './storage/storage.ts'
import { removeEntry } from './subscribing.ts'
import { Wills, willDelayMs } from './wills.ts'

interface OpenedSession {
  session: Session
  isResumed: boolean
  /** Of the connection: its own, or the one that the session has kept. */
  will: Will | undefined
}

/** Every session, with and without a connection: made, taken up, kept for its time, ended, and read back after a restart. */
export class SessionTable {
  readonly #hub: Hub
  readonly #durable: DurableStore | undefined
  readonly #context: Omit<SessionContext, 'limits'>
  readonly #sessions = new Map<string, Session>()
  /** Of sessions without a connection, by key. */
  readonly #expiries = new Map<string, Deadline>()
  readonly #wills: Wills
  #isStopping = false

  constructor(hub: Hub, durable: DurableStore | undefined, context: Omit<SessionContext, 'limits'>) {
    this.#hub = hub
    this.#durable = durable
    this.#context = context
    this.#wills = new Wills(durable?.wills)
  }

  get size(): number {
    return this.#sessions.size
  }

  get(key: string): Session | undefined {
    return this.#sessions.get(key)
  }

  values(): MapIterator<Session> {
    return this.#sessions.values()
  }

  /** Reads back what outlived the last process. Who was connected to it lost its connection then. */
  async restore(): Promise<void> {
    if (this.#durable === undefined) return
    const { sessions, wills } = this.#durable
    const restored: StoredSession['record'][] = []
    for await (const stored of sessions.load()) {
      this.#restoreSession(stored, this.#durable)
      restored.push(stored.record)
    }
    const waiting: (readonly [StoredClient, WaitingWill])[] = []
    for await (const will of wills.load()) waiting.push(will)
    // All is read: from here on it may be written to.
    for (const [client, { will, dueAtMs, isKept }] of waiting) {
      if (isKept !== true) this.#restoreWill(returnedClient(client), will, dueAtMs)
      else if (this.#sessions.has(client.key)) this.#wills.restoreKept(client.key, will)
      else this.#wills.forget(client.key)
    }
    const nowMs = Date.now()
    for (const record of restored) this.#restart(record, nowMs)
  }

  /** Takes up the client's session, or makes one. @returns undefined if there is no room for it */
  open(info: ClientInfo, options: SessionOptions): OpenedSession | undefined {
    // [MQTT-3.1.3-2] a session is known by its client id
    const existing = this.#sessions.get(info.key)
    // [MQTT-3.1.4-4] [MQTT-3.1.2-4] anew, [MQTT-3.1.2-5] taken up, [MQTT-3.1.2-6] or made
    if (existing !== undefined && options.cleanStart) this.terminate(existing, 'discarded')
    const resumed = options.cleanStart ? undefined : existing
    if (resumed === undefined && this.#sessions.size >= this.#hub.options.maxSessions) return undefined
    const session = resumed ?? this.#make(info, options)
    session.info = info
    session.expiryIntervalMs = options.expiryIntervalMs
    this.#sessions.set(info.key, session)
    session.mirror?.save(info, options.expiryIntervalMs, undefined)
    this.#wills.cancel(info.key) // [MQTT-3.1.3-9]
    // [MQTT-3.1.2-7] the will goes with it
    const { will = options.keepsWill === true ? this.#wills.takeUp(info) : undefined } = options
    if (options.will !== undefined) this.#wills.announce(info, options.will)
    this.#expiries.get(info.key)?.clear()
    this.#expiries.delete(info.key)
    return { session, isResumed: resumed !== undefined, will }
  }

  /** @returns false if it is not kept */
  willChanged({ info, will }: HubClient): MaybePromise<boolean> {
    if (will === undefined) this.#wills.forget(info.key)
    else this.#wills.announce(info, will)
    if (this.#durable?.refusal !== undefined) return false
    return (
      this.#durable?.unsafe?.then(
        () => true,
        () => false,
      ) ?? true
    )
  }

  /** Its connection is gone: from now on its time runs. */
  keep(session: Session): void {
    session.mirror?.save(session.info, session.expiryIntervalMs, Date.now())
    // A hook may have kicked it just now.
    if (this.#isStopping || this.#sessions.get(session.key) !== session) return
    this.#expireIn(session, session.expiryIntervalMs)
  }

  /** [MQTT-3.1.2-8], [MQTT-3.14.4-3]: a clean goodbye forgets the will, everything else publishes it now or later. */
  settleWill(client: HubClient, reason: DisconnectReason, isOver: boolean): void {
    const { will, info, session } = client
    // [MQTT-3.1.2-12 (3.1.1)] none without a will
    if (will === undefined) return
    if (client.keepsWill && !isLoss(client, reason)) {
      // With the session, which outlives a goodbye or not.
      return isOver ? this.#wills.forget(info.key) : this.#wills.keep(info, will)
    }
    // [MQTT-3.1.2-10] and none after a goodbye. A login that was not answered yet has nothing to leave behind,
    // nor has one that is not known to be who it was.
    if (reason === 'normal' || !client.isStarted || client.isReauthenticating)
      return this.#wills.forget(info.key)
    const publish = () => publishWill(this.#hub, info, will)
    const isImmediate = isOver || (this.#isStopping && !this.#wills.areKept)
    const delayMs = isImmediate ? 0 : willDelayMs(will, session.expiryIntervalMs)
    if (delayMs > 0 && reason !== 'takenover') return this.#wills.schedule(info, will, delayMs, publish)
    if (delayMs === 0) this.#wills.publish(info.key, publish)
    else this.#wills.forget(info.key) // it was taken over: it is back already
  }

  terminate(session: Session, reason: DisconnectReason): void {
    if (this.#sessions.get(session.key) !== session) return
    const { hooks, metrics } = this.#hub
    this.#sessions.delete(session.key)
    this.#expiries.get(session.key)?.clear()
    this.#expiries.delete(session.key)
    for (const entry of session.subscriptions.values()) removeEntry(this.#hub, entry)
    // Theirs before it is gone here: a crash in between must not lose it.
    for (const { group, message } of session.sharedDeliveries()) {
      const member = group?.pick(message)
      member?.session.offer(message, member)
    }
    session.clear()
    session.mirror?.remove()
    this.#wills.publishNow(session.key)
    this.#wills.dropKept(session.key)
    if (reason === 'discarded') metrics.sessionDiscarded++
    else metrics.sessionTerminated++
    if (reason === 'discarded') hooks.run('session.discarded', session.info)
    else hooks.run('session.terminated', session.info, reason)
  }

  /** From now on wills are published at once, unless they are kept for the next start. */
  stopping(): void {
    this.#isStopping = true
    this.#wills.stop()
  }

  /** Nothing is timed any more. */
  stopped(): void {
    this.#wills.stop()
    for (const deadline of this.#expiries.values()) deadline.clear()
  }

  #make(info: ClientInfo, { expiryIntervalMs }: SessionOptions): Session {
    const limits = this.#hub.limitsOf(info).session
    const isKept = this.#durable !== undefined && expiryIntervalMs > 0
    const mirror = isKept ? new SessionMirror(info.key, this.#durable as DurableStore) : undefined
    return new Session(info, { ...this.#context, limits }, mirror)
  }

  #expireIn(session: Session, delayMs: number): void {
    this.#expiries.get(session.key)?.clear()
    // [MQTT-3.1.2-23] kept for so long, [MQTT-4.1.0-2] and no longer
    this.#expiries.set(session.key, new Deadline(delayMs, () => this.terminate(session, 'expired')))
  }

  #restoreSession(stored: StoredSession, durable: DurableStore): void {
    const limits = this.#hub.limitsOf(stored.record.client).session
    const { router } = this.#hub.kernel
    const session = restoreSession(stored, { ...this.#context, limits }, durable, router, this.#hub.exclusive)
    this.#sessions.set(session.key, session)
  }

  /** Its time goes on, or begins: whoever was connected with it lost the connection with the last process. */
  #restart({ client, expiryIntervalMs, disconnectedAtMs }: StoredSession['record'], nowMs: number): void {
    const session = this.#sessions.get(client.key) as Session
    const leftMs = (disconnectedAtMs ?? nowMs) + expiryIntervalMs - nowMs
    if (leftMs <= 0) return this.terminate(session, 'expired')
    if (disconnectedAtMs === undefined) session.mirror?.save(session.info, expiryIntervalMs, nowMs)
    this.#expireIn(session, leftMs)
  }

  #restoreWill(info: ClientInfo, will: Will, dueAtMs: number | undefined): void {
    const publish = () => publishWill(this.#hub, info, will)
    const expiryMs = this.#sessions.get(info.key)?.expiryIntervalMs ?? 0
    const delayMs = dueAtMs === undefined ? willDelayMs(will, expiryMs) : dueAtMs - Date.now()
    this.#wills.schedule(info, will, Math.max(0, delayMs), publish)
  }
}

/** Whether a connection whose will is the session's has ended in a way that publishes it. */
function isLoss({ isStarted }: HubClient, reason: DisconnectReason): boolean {
  return (
    isStarted &&
    reason !== 'normal' &&
    reason !== 'kicked' &&
    reason !== 'discarded' &&
    reason !== 'takenover'
  )
}
