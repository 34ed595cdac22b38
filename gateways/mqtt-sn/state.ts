import { randomInt } from 'node:crypto'
import type { Delivery } from '../../broker/broker.ts'
import type { DatagramHandler, DatagramTransport } from '../../listeners/datagram.ts'
import type { PayloadSlab } from '../../model/payload-slab.ts'
import type { GatewayContext, ListenerSettings } from '../gateway.ts'
import type { Anonymous } from './anonymous.ts'
import type { SnChannel } from './channel.ts'
import type { MqttsnOptions } from './config.ts'
import type { Frame } from './frame.ts'
import type { PacketCounters } from './packet-counters.ts'
import { TopicIds } from './topics.ts'

const LATE_COPY_MS = 1000
const MAX_SKIPPED_IDS = 32_000

/** What MQTT-SN adds to a session of the broker. It outlives connections as the session does, not the process. */
export class SnSession {
  readonly ids = new TopicIds()
  /** QoS 0 messages that a sleeping client has not fetched. */
  unsent: Delivery[] = []
  /** Names of subscriptions that have no wildcard, for `subs_resume`. */
  names: Set<string> | undefined
  /** Unix time in ms at which it is forgotten. */
  endsAtMs = Number.POSITIVE_INFINITY
  #incoming: Map<number, number> | undefined
  /** The message that was released last, and when. */
  #released: { msgId: number; atMs: number } | undefined

  /** Of a session that has outlived the process: nobody knows any more what its numbers meant. */
  static forgotten(): SnSession {
    const session = new SnSession()
    session.ids.skip(1 + randomInt(MAX_SKIPPED_IDS))
    return session
  }

  /** Notes a QoS 2 message that waits for PUBREL. */
  expect(msgId: number, nowMs: number, limits: { max: number; timeoutMs: number }): 'new' | 'copy' | 'full' {
    this.#incoming ??= new Map()
    const since = this.#incoming.get(msgId)
    if (since !== undefined && nowMs - since < limits.timeoutMs) return 'copy'
    if (this.#incoming.size >= limits.max) {
      for (const [id, at] of this.#incoming) if (nowMs - at >= limits.timeoutMs) this.#incoming.delete(id)
      if (this.#incoming.size >= limits.max) return 'full'
    }
    this.#incoming.set(msgId, nowMs)
    return 'new'
  }

  /** PUBREL has come. */
  released(msgId: number, nowMs: number): void {
    if (this.#incoming?.delete(msgId) === true) this.#released = { msgId, atMs: nowMs }
  }

  /** It was not taken: the next one with this id is a new one. */
  forget(msgId: number): void {
    this.#incoming?.delete(msgId)
  }

  /** Whether a message that is marked as a copy has been overtaken by the PUBREL of the first one. */
  wasReleased(msgId: number, nowMs: number): boolean {
    return this.#released?.msgId === msgId && nowMs - this.#released.atMs < LATE_COPY_MS
  }
}

/** What all peers of a gateway share. */
export interface Shared {
  readonly options: MqttsnOptions
  readonly context: GatewayContext
  readonly slab: PayloadSlab
  readonly packets: PacketCounters
  readonly anonymous: Anonymous
  /** Of sessions without a connection, by client id. */
  readonly kept: Map<string, SnSession>
  /** Connected, asleep and awake ones, by client id. */
  readonly channels: Map<string, SnChannel>
  /** Those with a step that may have to be sent again. */
  readonly watched: Set<SnChannel>
  /** Whether one more answer to somebody unknown is all right now: two gateways must not talk to each other for ever. */
  mayAnswerStranger(): boolean
  /** Takes over a peer if `datagram` comes through a forwarder. @returns false if it does not */
  forwarded(place: Place, datagram: Buffer): boolean
  /** Somebody who may log in from there, where `previous` is connected now. */
  stranger(place: Place, previous?: SnChannel): FrameHandler
}

/** A handler that takes messages already decoded, too. */
export interface FrameHandler extends DatagramHandler {
  handle(frame: Frame): void
}

/** A peer and where it came in. */
export interface Place {
  readonly transport: DatagramTransport
  readonly listener: ListenerSettings
}
