import { Aedes } from 'aedes'
import type { HookBus } from '../hooks/bus.ts'
import { andThen, isPromise, type MaybePromise } from '../model/async.ts'
import { Message, type QoS } from '../model/message.ts'
import type { HubClient } from './client.ts'
import { MessageRun } from './message-run.ts'
import type { Metrics } from './metrics.ts'
import type { Retainer } from './retainer.ts'
import type { Route, Target } from './routing/route.ts'
import type { Router } from './routing/router.ts'
import type { Storage } from './storage/storage.ts'

/** A client as Aedes sees it in its table. */
export class TableEntry {
  readonly id: string
  readonly client: HubClient
  /** Aedes counts here what other nodes have sent it; ours drop nothing by it. */
  readonly duplicates: Record<string, number> = {}

  constructor(client: HubClient) {
    this.id = client.info.key
    this.client = client
  }

  get closed(): boolean {
    return this.client.isClosed
  }

  /** Aedes closes an entry when its id logs in on another node. */
  close(done?: () => void): void {
    this.client.end('takenover')
    done?.()
  }
}

/** A packet as Aedes publishes it: heartbeats, births, logins, wills of dead nodes. */
interface AedesPacket {
  topic: string
  payload: Uint8Array
  qos?: number
  retain?: boolean
}

type Done = (error?: Error | null) => void

/** The parts of Aedes that its public types leave out. Used here and nowhere else. */
interface AedesParts {
  readonly id: string
  readonly clients: Record<string, TableEntry>
  readonly connectedClients: number
  readonly closed: boolean
  listen(): Promise<void>
  close(done?: () => void): void
  registerClient(entry: TableEntry): void
  unregisterClient(entry: TableEntry): void
  on(event: 'error', listener: (error: Error) => void): unknown
  publish(packet: AedesPacket, client: TableEntry | Done | null, done?: Done): void
}

const AedesKernel = Aedes as unknown as new (options: {
  id: string
  mq: Router
  persistence: Storage
  heartbeatInterval: number
}) => AedesParts

export interface KernelOptions {
  nodeName: string
  router: Router
  storage: Storage
  retainer: Retainer
  hooks: HookBus
  heartbeatMs: number
  metrics: Metrics
}

/** Packets under this prefix are Aedes talking to itself and to other nodes; they are nobody's subscription. */
const INTERNAL_PREFIX = '$SYS/'

/**
 * Aedes' kernel: the client table with its takeover between nodes, births and
 * heartbeats of nodes, the sweep for wills of dead ones. The publish pipeline is
 * overridden: same order (retain, route), but nothing is wrapped or awaited without need.
 */
export class Kernel extends AedesKernel {
  readonly router: Router
  readonly storage: Storage
  readonly retainer: Retainer
  readonly run: MessageRun
  readonly #hooks: HookBus
  readonly #metrics: Metrics

  constructor(options: KernelOptions) {
    super({
      id: options.nodeName,
      mq: options.router,
      persistence: options.storage,
      heartbeatInterval: options.heartbeatMs,
    })
    this.router = options.router
    this.storage = options.storage
    this.retainer = options.retainer
    this.#hooks = options.hooks
    this.#metrics = options.metrics
    this.run = new MessageRun(options.router, options.hooks, options.metrics)
  }

  clientOf(key: string): HubClient | undefined {
    return this.clients[key]?.client
  }

  /**
   * Stores the retained message of a topic, then routes it.
   * @returns see `dispatch`; a promise only if the storage needs one.
   */
  retain(message: Message): MaybePromise<number> {
    return andThen(this.retainer.store(message), () => {
      message.stored = this.storage.durable?.unsafe
      return this.retainer.hides(message) ? 0 : this.dispatch(message, this.router.routeOf(message))
    })
  }

  /**
   * What the broker says about itself, under `$SYS/`: hooks do not see it, and it is no loss if nobody listens.
   * With RETAIN it is given to subscribers, and stored if `isChanged`.
   */
  announce(message: Message, isChanged = message.retain): MaybePromise<void> {
    const stored = isChanged ? this.retainer.store(message) : undefined
    return andThen(stored, () => {
      const route = this.router.route(message.topic)
      if (route.targets.length > 0 || route.groups.length > 0) this.dispatch(message, route)
    })
  }

  /** Gives a message to the sessions on its route. @returns to how many it went, or for how many it was queued. */
  dispatch(message: Message, route: Route): number {
    if (this.run.isOpen) this.run.settle()
    const { targets, groups } = route
    let count = targets.length
    for (let i = 0; i < targets.length; i++) {
      const target = targets[i] as Target
      target.session.offer(message, target) // [MQTT-4.5.0-1]
      if (target.noLocal && isOwnOnly(message, target)) count--
    }
    for (let i = 0; i < groups.length; i++) {
      const member = groups[i]?.pick(message)
      if (member === undefined) continue
      // [MQTT-3.3.4-5] [MQTT-4.8.2-3] a copy of its own, with the QoS and the identifier of that member
      member.session.offer(message, member)
      count++
    }
    if (count === 0) {
      this.#metrics.messagesDroppedNoSubscribers++
      if (this.#hooks.has('message.dropped')) this.#hooks.run('message.dropped', message, 'no_subscribers')
    }
    return count
  }

  /** Aedes' own publications: internal ones go to the kernel's listeners, a dead node's wills are routed. */
  override publish(packet: AedesPacket, client: TableEntry | Done | null, done?: Done): void {
    const finished = typeof client === 'function' ? client : (done ?? (() => {}))
    if (packet.topic.startsWith(INTERNAL_PREFIX)) {
      this.router.emit(packet, finished)
      return
    }
    const { topic, payload } = packet
    const message = Message.of(
      topic,
      payload,
      (packet.qos ?? 0) as QoS,
      packet.retain ?? false,
      undefined,
      undefined,
      Date.now(),
    )
    const routed = message.retain ? this.retain(message) : this.dispatch(message, this.router.route(topic))
    if (isPromise(routed)) routed.then(() => finished(), finished)
    else finished()
  }
}

/** The publisher itself, by subscriptions with No Local alone: it gets nothing. */
function isOwnOnly(message: Message, { session, parts }: Target): boolean {
  return message.from === session.key && (parts === undefined || parts.every((part) => part.noLocal))
}
