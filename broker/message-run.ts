import type { HookBus } from '../hooks/bus.ts'
import type { ClientInfo } from '../model/client-info.ts'
import type { Message } from '../model/message.ts'
import type { Metrics } from './metrics.ts'
import type { Route, Target } from './routing/route.ts'
import type { Router } from './routing/router.ts'

/** What is known of a message before it is made: its topic, and where it is. */
export type Sight = Pick<Message, 'topic' | 'known' | 'bytes'>

/** Messages of a run, and who is told of them. */
export interface Batch {
  /** Each is appended before it is added to the run. */
  readonly messages: readonly Message[]
  /** The first `count` of them are in all sessions they are for; whatever has ended the run has not happened yet. */
  handedOver(count: number): void
}

const NOTHING: Uint8Array = new Uint8Array(0)
const NOWHERE: Route = { targets: [], groups: [], levels: 0, isReserved: false }

/**
 * Messages of one client and about one topic that follow each other in what was read, on their way to everybody on
 * their route. Each is checked on its own; they are handed over together, one client after the other, which finds all
 * that it needs in the processor's cache. Nothing else happens in between: whoever publishes, lets a client in, or ends
 * one or its session, settles the run first.
 *
 *     beginPackets -> extend, for each packet -> settle       at QoS 0: as packets, for who gets them as they came
 *     beginMessages -> add, for each message -> settle
 */
export class MessageRun {
  readonly #router: Router
  readonly #hooks: HookBus
  readonly #metrics: Metrics
  #isOpen = false
  #route = NOWHERE
  #count = 0
  /** Packets: `#bytes` from `#start` to `#end`. Up to `#limit` everybody has room. */
  #bytes = NOTHING
  #start = 0
  #end = 0
  #limit = 0
  /** Of its messages the first `#count` are to be handed over; undefined where they are packets. */
  #batch: Batch | undefined

  constructor(router: Router, hooks: HookBus, metrics: Metrics) {
    this.#router = router
    this.#hooks = hooks
    this.#metrics = metrics
  }

  /** False once it was settled, for whatever reason. */
  get isOpen(): boolean {
    return this.#isOpen
  }

  /**
   * @param first - the first one, in the packet `bytes[start..end)`. It is not part of the run yet
   * @param isV5 - whether its packets are of MQTT 5
   * @returns false if somebody on the route cannot have them as they came: nothing has begun
   */
  beginPackets(
    first: Sight,
    publisher: ClientInfo,
    maxLevels: number,
    isV5: boolean,
    start: number,
    end: number,
  ): boolean {
    // Before it is asked who has room.
    this.settle()
    const route = this.#routeOf(first, maxLevels)
    if (route === undefined) return false
    const { targets } = route
    if (targets.length === 0 && this.#hooks.has('message.dropped')) return false
    let room = Number.MAX_SAFE_INTEGER
    for (let i = 0; i < targets.length; i++) {
      const target = targets[i] as Target
      if (!isPlain(target, publisher)) return false
      const roomOfOne = target.session.relayRoom(isV5)
      if (start + roomOfOne < end) return false
      if (roomOfOne < room) room = roomOfOne
    }
    this.#open(route)
    this.#bytes = first.bytes
    this.#start = this.#end = start
    this.#limit = start + room
    return true
  }

  /** @returns false if the packet that ends there cannot be one of them */
  extend(end: number): boolean {
    if (end > this.#limit || !this.#holds()) return false
    this.#end = end
    this.#count++
    return true
  }

  /**
   * @param first - the first one. It is not part of the run yet
   * @returns false if it depends on each message who gets it: nothing has begun
   */
  beginMessages(first: Sight, publisher: ClientInfo, maxLevels: number, batch: Batch): boolean {
    this.settle()
    const route = this.#routeOf(first, maxLevels)
    if (route === undefined || route.targets.length === 0) return false
    // Who gets its own messages gets each before the answer to it, and is not read while it does not take them.
    for (let i = 0; i < route.targets.length; i++)
      if (route.targets[i]?.session.key === publisher.key) return false
    this.#open(route)
    this.#batch = batch
    return true
  }

  /** @returns false if the message that was appended last cannot be one of them */
  add(): boolean {
    if (!this.#holds()) return false
    this.#count++
    return true
  }

  /** Hands over what has been gathered, and ends the run. */
  settle(): void {
    if (!this.#isOpen) return
    this.#isOpen = false
    const batch = this.#batch
    if (this.#count > 0) {
      if (batch === undefined) this.#relayAll(this.#route.targets)
      else this.#offerAll(this.#route.targets, batch)
    }
    this.#route = NOWHERE
    this.#bytes = NOTHING
    this.#batch = undefined
  }

  #routeOf(first: Sight, maxLevels: number): Route | undefined {
    const route = this.#router.routeOf(first)
    const isFit = !route.isReserved && route.groups.length === 0 && route.levels <= maxLevels
    return isFit && this.#router.isCurrent(route) ? route : undefined
  }

  #open(route: Route): void {
    this.#route = route
    this.#count = 0
    this.#isOpen = true
  }

  /** Hooks may have ended it, or changed who gets the messages. */
  #holds(): boolean {
    return this.#isOpen && this.#router.isCurrent(this.#route)
  }

  #relayAll(targets: readonly Target[]): void {
    const count = this.#count
    const bytes = this.#bytes
    for (let i = 0; i < targets.length; i++)
      (targets[i] as Target).session.relay(bytes, this.#start, this.#end, count)
    if (targets.length === 0) this.#metrics.messagesDroppedNoSubscribers += count
  }

  #offerAll(targets: readonly Target[], batch: Batch): void {
    const { messages } = batch
    const count = this.#count
    for (let i = 0; i < targets.length; i++) {
      const target = targets[i] as Target
      for (let k = 0; k < count; k++) target.session.offer(messages[k] as Message, target)
    }
    batch.handedOver(count)
  }
}

/** Whether it is to have messages at QoS 0 of this publisher at QoS 0, and nothing with them. */
function isPlain({ session, noLocal, identifiers, qos }: Target, publisher: ClientInfo): boolean {
  if (noLocal && publisher.key === session.key) return false
  return identifiers === undefined && (qos === 0 || !session.limits.upgradesQos)
}
