/** `$SYS`: what the broker publishes about itself, at intervals and when clients come and go. */
import type { Kernel } from '../../broker/kernel.ts'
import { type Metrics, readMetrics } from '../../broker/metrics.ts'
import type { Stats } from '../../broker/stats.ts'
import type { HookBus } from '../../hooks/bus.ts'
import { isPromise } from '../../model/async.ts'
import type { ClientInfo } from '../../model/client-info.ts'
import type { DisconnectReason } from '../../model/disconnect-reason.ts'
import type { Logger } from '../../model/log.ts'
import { Message } from '../../model/message.ts'
import type { Subscription } from '../../model/subscription.ts'
import type { SysTopicsConfig } from './config.ts'
import {
  type ClientEvent,
  connectedEvent,
  disconnectedEvent,
  eventTopic,
  subscribedEvent,
  unsubscribedEvent,
} from './events.ts'

/** Where EMQX has its own: after access control, before automatic subscriptions. */
export const SYS_TOPICS_PRIORITY = 950
const NAME = 'sys_topics'
const PRIORITY = { priority: SYS_TOPICS_PRIORITY }
const DESCRIPTION = 'Hubbub MQTT broker'
/** Node's timers know no longer time. */
const MAX_INTERVAL_MS = 2 ** 31 - 1

export interface SysTopicsSurroundings {
  readonly hub: {
    readonly kernel: Pick<Kernel, 'announce' | 'storage' | 'router'>
    readonly metrics: Metrics
    readonly stats: Stats
  }
  readonly log: Logger
  /** Unix time in milliseconds. */
  readonly now: () => number
  readonly nodeName: string
  readonly version: string
}

export class SysTopics {
  readonly #surroundings: SysTopicsSurroundings
  readonly #startedAtMs: number
  #config: SysTopicsConfig
  #bus: HookBus | undefined
  #heartbeat: NodeJS.Timeout | undefined
  #numbers: NodeJS.Timeout | undefined
  /** Retained ones as they were last stored, by topic. */
  readonly #stored = new Map<string, string>()

  constructor(config: SysTopicsConfig, surroundings: SysTopicsSurroundings) {
    this.#config = config
    this.#surroundings = surroundings
    this.#startedAtMs = surroundings.now()
  }

  /** Tells of clients from now on; what comes at intervals begins with the first `update`. */
  attach(bus: HookBus): void {
    this.#bus = bus
    this.#hook()
  }

  /** Intervals begin anew if they have changed; the first heartbeat comes at once. */
  update(config: SysTopicsConfig): void {
    const before = this.#config
    this.#config = config
    this.#hook()
    const { sys_heartbeat_interval: heartbeat, sys_msg_interval: numbers } = config
    if (this.#heartbeat === undefined || heartbeat !== before.sys_heartbeat_interval)
      this.#beatEvery(heartbeat)
    if (this.#numbers === undefined || numbers !== before.sys_msg_interval) this.#countEvery(numbers)
  }

  /** Nothing is published any more. Safe to call twice. */
  close(): void {
    clearInterval(this.#heartbeat)
    clearInterval(this.#numbers)
    for (const point of POINTS) this.#bus?.del(point, NAME)
    this.#bus = undefined
  }

  #beatEvery(interval: number | 'disabled'): void {
    clearInterval(this.#heartbeat)
    this.#heartbeat = undefined
    if (interval === 'disabled') return this.#forgetStored()
    this.#heartbeat = every(interval, () => this.#beat())
    this.#beat()
  }

  #countEvery(interval: number | 'disabled'): void {
    clearInterval(this.#numbers)
    this.#numbers = interval === 'disabled' ? undefined : every(interval, () => this.#publishNumbers())
  }

  #beat(): void {
    const { nodeName, version, now } = this.#surroundings
    const nowMs = now()
    this.#retain('$SYS/brokers', nodeName)
    this.#retain(this.#topic('version'), version)
    this.#retain(this.#topic('sysdescr'), DESCRIPTION)
    this.#publish(this.#topic('uptime'), String(nowMs - this.#startedAtMs))
    this.#publish(this.#topic('datetime'), new Date(nowMs).toISOString())
    this.#surroundings.hub.stats.sample()
  }

  #publishNumbers(): void {
    const { stats, metrics } = this.#surroundings.hub
    for (const [name, value] of stats.read()) this.#publishNumber('stats', name, value)
    for (const [name, value] of readMetrics(metrics)) this.#publishNumber('metrics', name, value)
  }

  #publishNumber(kind: 'stats' | 'metrics', name: string, value: number): void {
    this.#publish(this.#topic(`${kind}/${name.replaceAll('.', '/')}`), String(value))
  }

  #topic(rest: string): string {
    return `$SYS/brokers/${this.#surroundings.nodeName}/${rest}`
  }

  /** Given to who listens, and stored if it is not stored like this already. */
  #retain(topic: string, text: string): void {
    const isChanged =
      this.#stored.get(topic) !== text || !this.#surroundings.hub.kernel.storage.hasRetained(topic)
    this.#stored.set(topic, text)
    this.#announce(topic, text, true, isChanged)
  }

  /** What was true once is not to be found any more when nobody keeps it so. */
  #forgetStored(): void {
    for (const topic of this.#stored.keys()) this.#announce(topic, '', true, true)
    this.#stored.clear()
  }

  #publish(topic: string, text: string): void {
    this.#announce(topic, text, false, false)
  }

  #announce(topic: string, text: string, retain: boolean, isChanged: boolean): void {
    const { hub, log, now } = this.#surroundings
    const failed = (error: unknown) => log.error({ topic, error }, 'not published')
    const message = Message.of(topic, Buffer.from(text), 0, retain, undefined, undefined, now())
    try {
      const announced = hub.kernel.announce(message, isChanged)
      if (isPromise(announced)) announced.catch(failed)
    } catch (error) {
      failed(error)
    }
  }

  // Clients ---------------------------------------------------------------------

  #hook(): void {
    const bus = this.#bus
    if (bus === undefined) return
    for (const point of POINTS) bus.del(point, NAME)
    const events = this.#config.sys_event_messages
    if (events.client_connected) bus.put('client.connected', NAME, this.#connected, PRIORITY)
    if (events.client_disconnected) bus.put('client.disconnected', NAME, this.#disconnected, PRIORITY)
    if (events.client_subscribed) bus.put('session.subscribed', NAME, this.#subscribed, PRIORITY)
    if (events.client_unsubscribed) bus.put('session.unsubscribed', NAME, this.#unsubscribed, PRIORITY)
  }

  readonly #connected = (client: ClientInfo): void => {
    this.#tell(client, 'connected', (nowMs) => connectedEvent(client, nowMs))
  }

  readonly #disconnected = (client: ClientInfo, reason: DisconnectReason): void => {
    this.#tell(client, 'disconnected', (nowMs) => disconnectedEvent(client, reason, nowMs))
  }

  readonly #subscribed = (client: ClientInfo, subscription: Subscription, isNew: boolean): void => {
    this.#tell(client, 'subscribed', (nowMs) => subscribedEvent(client, subscription, isNew, nowMs))
  }

  readonly #unsubscribed = (client: ClientInfo, subscription: Subscription): void => {
    this.#tell(client, 'unsubscribed', (nowMs) => unsubscribedEvent(client, subscription, nowMs))
  }

  /** The object is made only if somebody listens: mostly nobody does. */
  #tell(client: ClientInfo, event: ClientEvent, describe: (nowMs: number) => object): void {
    const { hub, nodeName, now } = this.#surroundings
    const topic = eventTopic(nodeName, client, event)
    const { targets, groups } = hub.kernel.router.route(topic)
    if (targets.length === 0 && groups.length === 0) return
    this.#publish(topic, JSON.stringify(describe(now())))
  }
}

const POINTS = [
  'client.connected',
  'client.disconnected',
  'session.subscribed',
  'session.unsubscribed',
] as const

function every(intervalMs: number, act: () => void): NodeJS.Timeout | undefined {
  if (intervalMs > MAX_INTERVAL_MS) return undefined
  const timer = setInterval(act, Math.max(1, intervalMs))
  timer.unref()
  return timer
}
