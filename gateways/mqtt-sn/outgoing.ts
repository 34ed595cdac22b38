/**
 * From the broker's deliveries to PUBLISH, and from answers back to the broker.
 *
 *     deliver -> waiting -> (REGISTER, REGACK) -> PUBLISH -> (PUBACK | PUBREC, PUBREL, PUBCOMP)
 *
 * One step is out at a time and is sent again until it is answered: an MQTT-SN client has one
 * message in flight. What has to wait for a step, or for a client that sleeps, waits here in order.
 */
import type { Client, Delivery } from '../../broker/broker.ts'
import type { PayloadSlab } from '../../model/payload-slab.ts'
import type { Counters } from '../counters.ts'
import { Code, encodeId, encodePublish, encodeRegister, MAX_PAYLOAD_BYTES, Type } from './frame.ts'
import { addressOf, type PredefinedTopics, type TopicAddress, type TopicIds } from './topics.ts'

export interface OutgoingOptions {
  readonly retryIntervalMs: number
  readonly maxRetries: number
}

/** What it needs of its client. */
export interface OutgoingPeer {
  readonly ids: TopicIds
  readonly predefined: PredefinedTopics
  readonly client: Client
  readonly options: OutgoingOptions
  readonly counters: Counters
  readonly slab: PayloadSlab
  readonly maxDatagramBytes: number
  send(datagram: Buffer): void
  /** There is a step whose time is to be watched, or no longer. */
  watch(isWaiting: boolean): void
  /** Nothing waits here and nothing is out. */
  idle(): void
  now(): number
}

type Step =
  | { kind: 'register'; topicId: number; msgId: number; topic: string }
  | { kind: 'publish'; delivery: Delivery; address: TopicAddress }
  | { kind: 'release'; packetId: number }

/** QoS 0 messages that wait; the oldest gives way. Others wait in the session. */
const MAX_WAITING = 1000
/** §6.13 leaves the time to the implementation; EMQX's for REGISTER. */
const MAX_REGISTER_RETRY_MS = 5000
const PUBLISH_OVERHEAD_BYTES = 9

export class Outgoing {
  readonly #peer: OutgoingPeer
  /** Deliveries, and packet ids whose PUBREL has to be sent again. */
  #waiting: (Delivery | number)[] = []
  /** Topics that are registered before anything is delivered. */
  #names: string[] = []
  #step: Step | undefined
  #attempts = 0
  #sentAtMs = 0
  #rejections = 0
  #lastMsgId = 0
  #isPaused = false

  constructor(peer: OutgoingPeer) {
    this.#peer = peer
  }

  get isIdle(): boolean {
    return this.#step === undefined && this.#waiting.length === 0 && this.#names.length === 0
  }

  /** What waits and is at QoS 0, which nobody else remembers. */
  unsent(): Delivery[] {
    return this.#waiting.filter((one) => typeof one !== 'number' && one.qos === 0) as Delivery[]
  }

  /** Takes up what an earlier connection of the session has left. */
  resume(names: readonly string[], unsent: readonly Delivery[]): void {
    this.#names.push(...names)
    this.#waiting.push(...unsent)
  }

  /** Called by the broker: nothing may be acknowledged before it returns. @returns false if it is too large */
  deliver(delivery: Delivery): boolean {
    const { message, qos } = delivery
    const size = message.payloadLength
    if (size > MAX_PAYLOAD_BYTES || size + PUBLISH_OVERHEAD_BYTES > this.#peer.maxDatagramBytes) return false
    if (qos === 0 && this.#sendAtOnce(delivery)) return true
    this.#wait(delivery)
    this.pump()
    return true
  }

  release(packetId: number): void {
    this.#waiting.push(packetId)
    this.pump()
  }

  /** The client sleeps: nothing is sent. */
  pause(): void {
    this.#isPaused = true
    this.#peer.watch(false)
  }

  /** The client is awake: what it has not answered comes again, then what waits. */
  wake(): void {
    this.#isPaused = false
    this.#attempts = 0
    if (this.#step !== undefined) this.#send(this.#step, true)
    this.pump()
  }

  /** Sends what may be sent. */
  pump(): void {
    while (!this.#isPaused && this.#step === undefined) {
      const name = this.#names.shift()
      if (name !== undefined) {
        this.#register(name)
        continue
      }
      const next = this.#waiting.shift()
      if (next === undefined) return this.#peer.idle()
      this.#take(next)
    }
  }

  /** @returns false if the client has not answered for too long */
  tick(nowMs: number): boolean {
    const step = this.#step
    if (step === undefined || this.#isPaused) return true
    const { retryIntervalMs, maxRetries } = this.#peer.options
    const waitMs =
      step.kind === 'register' ? Math.min(retryIntervalMs, MAX_REGISTER_RETRY_MS) : retryIntervalMs
    if (nowMs - this.#sentAtMs < waitMs) return true
    if (this.#attempts >= maxRetries) return false
    this.#attempts++
    this.#peer.counters.add('packets.retransmitted')
    this.#send(step, true)
    return true
  }

  regack(topicId: number, msgId: number, code: number): void {
    const step = this.#step
    if (step?.kind !== 'register' || step.topicId !== topicId || step.msgId !== msgId) return
    if (code === Code.Congestion) return // it comes again
    if (code === Code.Accepted) {
      if (this.#peer.predefined.nameOf(topicId) === undefined) this.#peer.ids.confirm(topicId, step.topic)
    } else this.#refused(step.topic)
    this.#done()
    this.pump()
  }

  puback(topicId: number, msgId: number, code: number): void {
    const step = this.#step
    if (msgId === 0) return this.#forgotten(topicId, code)
    if (step?.kind !== 'publish' || step.delivery.packetId !== msgId || code === Code.Congestion) return
    const { delivery, address } = step
    if (code === Code.Accepted && delivery.qos === 2) return // not the answer to this one
    this.#done()
    if (code === Code.InvalidTopicId && this.#rejections++ < this.#peer.options.maxRetries) {
      this.#waiting.unshift(delivery)
      this.#ask(address.topicId, this.#nameOf(delivery))
      return
    }
    this.#rejections = 0
    if (code !== Code.Accepted) this.#peer.counters.add('delivery.dropped.refused')
    this.#peer.client.acked(msgId)
    this.pump()
  }

  pubrec(msgId: number): void {
    const step = this.#step
    if (step?.kind === 'publish' && step.delivery.packetId === msgId && step.delivery.qos === 2) {
      this.#rejections = 0
      this.#peer.client.received(msgId)
      this.#begin({ kind: 'release', packetId: msgId })
    } else this.#peer.send(encodeId(Type.PUBREL, msgId))
  }

  pubcomp(msgId: number): void {
    if (this.#step?.kind !== 'release' || this.#step.packetId !== msgId) return
    this.#done()
    this.#peer.client.completed(msgId)
    this.pump()
  }

  #sendAtOnce(delivery: Delivery): boolean {
    if (this.#isPaused || this.#waiting.length > 0 || this.#names.length > 0) return false
    if (this.#step !== undefined) return false // in the order of publication
    const address = addressOf(this.#nameOf(delivery), this.#peer.ids, this.#peer.predefined)
    if (address === undefined) return false
    this.#publish(delivery, address, false)
    return true
  }

  #wait(delivery: Delivery): void {
    delivery.message.own(this.#peer.slab)
    this.#waiting.push(delivery)
    if (this.#waiting.length <= MAX_WAITING) return
    const oldest = this.#waiting.findIndex((one) => typeof one !== 'number' && one.qos === 0)
    if (oldest < 0) return
    this.#waiting.splice(oldest, 1)
    this.#peer.counters.add('delivery.dropped.queue_full')
  }

  #take(next: Delivery | number): void {
    if (typeof next === 'number') return this.#begin({ kind: 'release', packetId: next })
    const { expiresAtMs } = next.message
    if (expiresAtMs !== 0 && expiresAtMs <= this.#peer.now() && !next.dup) return this.#drop(next, 'expired')
    const name = this.#nameOf(next)
    const address = addressOf(name, this.#peer.ids, this.#peer.predefined)
    if (address === undefined) {
      if (this.#register(name)) this.#waiting.unshift(next)
      else this.#drop(next, 'no_topic_id')
    } else if (next.qos === 0) this.#publish(next, address, false)
    else this.#begin({ kind: 'publish', delivery: next, address })
  }

  /** @returns false if there is no id for it */
  #register(name: string): boolean {
    const { ids, predefined } = this.#peer
    const topicId = predefined.idOf(name) ?? ids.idOf(name) ?? ids.reserve(name, predefined)
    if (topicId === 0) return false
    this.#ask(topicId, name)
    return true
  }

  #ask(topicId: number, topic: string): void {
    this.#lastMsgId = this.#lastMsgId === 0xffff ? 1 : this.#lastMsgId + 1
    this.#begin({ kind: 'register', topicId, msgId: this.#lastMsgId, topic })
  }

  /** The client does not want the topic: its messages would ask again and again. */
  #refused(topic: string): void {
    const refused = this.#waiting.filter((one) => typeof one !== 'number' && this.#nameOf(one) === topic)
    this.#waiting = this.#waiting.filter((one) => !refused.includes(one))
    for (const one of refused) this.#drop(one as Delivery, 'refused')
  }

  /** A client that knows the topic of a QoS 0 message no more: told again, for the next one. */
  #forgotten(topicId: number, code: number): void {
    const name = this.#peer.ids.nameOf(topicId) ?? this.#peer.predefined.nameOf(topicId)
    if (code !== Code.InvalidTopicId || name === undefined || this.#names.includes(name)) return
    if (this.#step?.kind === 'register' && this.#step.topic === name) return
    this.#names.push(name)
    this.pump()
  }

  /** Not within the broker's own call, in which it is still busy with it. */
  #drop(delivery: Delivery, why: 'expired' | 'no_topic_id' | 'refused'): void {
    this.#peer.counters.add(`delivery.dropped.${why}`)
    const { packetId } = delivery
    if (packetId !== 0) queueMicrotask(() => this.#peer.client.acked(packetId))
  }

  #begin(step: Step): void {
    this.#step = step
    this.#attempts = 0
    this.#peer.watch(true)
    this.#send(step, false)
  }

  #done(): void {
    this.#step = undefined
    this.#peer.watch(false)
  }

  #send(step: Step, isAgain: boolean): void {
    this.#sentAtMs = this.#peer.now()
    if (step.kind === 'publish') this.#publish(step.delivery, step.address, isAgain)
    else if (step.kind === 'release') this.#peer.send(encodeId(Type.PUBREL, step.packetId))
    else this.#peer.send(encodeRegister(step.topicId, step.msgId, step.topic))
  }

  #publish({ message, packetId, qos, retain, dup }: Delivery, address: TopicAddress, isAgain: boolean): void {
    const { kind, topicId } = address
    const head = { kind, topicId, msgId: packetId, qos, retain, dup: qos > 0 && (dup || isAgain) }
    this.#peer.send(encodePublish(head, message.payload))
  }

  #nameOf(delivery: Delivery): string {
    return this.#peer.client.unmounted(delivery.message.topic)
  }
}
