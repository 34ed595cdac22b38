/**
 * The same bytes for a connection all at once, cut anywhere, one packet at a time, and in the way that all others are to
 * come out like: each packet of a client that is charged for each becomes a message of its own.
 */
import { vi } from 'vitest'
import { HubClient } from '../../../broker/client.ts'
import { Hub, type HubOptions } from '../../../broker/hub.ts'
import { readMetrics } from '../../../broker/metrics.ts'
import type { ProtocolVersion } from '../../../broker/mqtt/packets.ts'
import { MemoryStorage } from '../../../broker/storage/storage-memory.ts'
import { HookBus } from '../../../hooks/bus.ts'
import type { Authorization } from '../../../hooks/hookpoints.ts'
import { Pace } from '../../../listeners/pace.ts'
import type { ClientInfo } from '../../../model/client-info.ts'
import { silentLogger } from '../../../model/log.ts'
import type { Message, QoS } from '../../../model/message.ts'
import { FakeOutbox } from '../../gateways/support/fake-transport.ts'
import { HUB_OPTIONS } from '../support.ts'
import { connectBytes, mqttContext, RawPeer, text, turns, u16, type Wish } from './raw-peer.ts'
import { packet, type Random } from './support.ts'

/** How the packets of one client reach its connection. */
export type Feed = (packets: readonly Buffer[]) => Buffer[]

/** Each as a message of its own. */
export const singly: Feed = (packets) => [...packets]
/** Each alone in what was read. */
export const oneByOne: Feed = (packets) => [...packets]
export const atOnce: Feed = (packets) => [Buffer.concat(packets)]

export function cutBy(random: Random): Feed {
  return (packets) => {
    const bytes = Buffer.concat(packets)
    const cuts = Array.from({ length: 1 + random.int(4) }, () => random.int(bytes.length)).sort(
      (a, b) => a - b,
    )
    return [0, ...cuts].map((from, i) => bytes.subarray(from, cuts[i] ?? bytes.length))
  }
}

const UNLIMITED = { messages: undefined, bytes: undefined, subscribes: undefined }

/** An outbox that is congested from so many bytes on, until `take` and `drain`. */
class NarrowOutbox extends FakeOutbox {
  readonly #mark: number

  constructor(mark: number) {
    super()
    this.#mark = mark
    this.room = mark - 1
  }

  override reserve(size: number): number {
    const offset = super.reserve(size)
    this.room = this.#mark - this.unsentBytes - 1
    if (this.room < 0) this.congested = true
    return offset
  }

  override take(): Buffer {
    this.room = this.#mark - 1
    return super.take()
  }
}

export interface PeerWish extends Wish {
  version?: ProtocolVersion
  /** Bytes from which it is congested. */
  mark?: number
}

/** A hub with peers, of which everything that can be seen is kept. */
export class World {
  readonly hub: Hub
  readonly seen: string[] = []
  readonly #peers = new Map<string, { peer: RawPeer; bytes: Buffer[] }>()
  readonly #clients: HubClient[] = []

  private constructor(hub: Hub) {
    this.hub = hub
  }

  static async start(options: Partial<HubOptions> = {}): Promise<World> {
    const hub = new Hub(
      { ...HUB_OPTIONS, ...options },
      new MemoryStorage(),
      new HookBus(silentLogger),
      silentLogger,
    )
    await hub.start()
    return new World(hub)
  }

  /** Lets a peer in. */
  connect(id: string, { version = 5, mark, rest, options, listener }: PeerWish = {}): RawPeer {
    const peer = new RawPeer(mqttContext(this.hub, { maxPacketBytes: 30_000, ...options }), version, listener)
    if (mark !== undefined) Object.assign(peer.transport, { outbox: new NarrowOutbox(mark) })
    peer.send(connectBytes(version, id, rest))
    this.#peers.set(this.#peers.has(id) ? `${id} again` : id, { peer, bytes: [] })
    const { client } = peer.connection
    if (client === undefined) throw new Error(`${id} was not let in`)
    this.#clients.push(client)
    return peer
  }

  subscriber(id: string, filter: string, qos: QoS = 0, wish: PeerWish = {}): RawPeer {
    return this.connect(id, wish).send(subscribing(wish.version ?? 5, filter, qos))
  }

  /** Somebody else has published to these topics, so that their routes are known. */
  warm(topics: readonly string[]): void {
    const peer = this.connect('warm')
    for (const topic of [...topics, ...topics]) peer.send(publishing(5, topic, 'warm'))
  }

  /** Feeds a peer, and lets everybody read what there is for them until nobody has more. */
  async feed(peer: RawPeer, feed: Feed, packets: readonly Buffer[]): Promise<void> {
    peer.transport.pace = feed === singly ? new Pace(UNLIMITED) : undefined
    for (const chunk of feed(packets)) {
      peer.transport.receive(chunk)
      // A real one drains in its own time: here when it cannot go on.
      while (peer.transport.outbox.congested && !peer.isClosed) this.#drain(peer)
    }
    for (let i = 0; i < 10; i++) await turns(1)
    while (peer.transport.isPaused && !peer.isClosed) {
      if (peer.transport.outbox.congested) this.#drain(peer)
      await turns(1)
    }
  }

  #drain(peer: RawPeer): void {
    for (const one of this.#peers.values())
      if (one.peer === peer) one.bytes.push(peer.transport.outbox.take())
    peer.transport.drain()
  }

  /** The ones that were congested go on. */
  drainAll(): void {
    for (const { peer } of this.#peers.values()) {
      while (peer.transport.outbox.congested && !peer.isClosed) this.#drain(peer)
    }
  }

  note = (...what: string[]): void => {
    this.seen.push(what.join(' '))
  }

  /** Everything there is to compare. */
  outcome() {
    const got: Record<string, string> = {}
    for (const [id, { peer, bytes }] of this.#peers) {
      bytes.push(peer.transport.outbox.take())
      got[id] = `${peer.transport.state} ${Buffer.concat(bytes).toString('hex')}`
    }
    const sessions = this.#clients.map(({ info, session, receivedCount, isClosed }) => ({
      key: info.key,
      receivedCount,
      isClosed,
      sent: session.sentCount,
      dropped: session.droppedCount,
      overflow: session.overflowCount,
      queue: session.queueLength,
      inflight: session.inflightCount,
      waiting: session.waitingCount,
      incoming: session.incoming.size,
      isThere: this.hub.session(info.key) === session,
    }))
    return { got, sessions, seen: this.seen, metrics: Object.fromEntries(readMetrics(this.hub.metrics)) }
  }
}

export type Outcome = ReturnType<World['outcome']>

export function subscribing(version: ProtocolVersion, filter: string, qos: QoS, packetId = 1): Buffer {
  return packet('82', u16(packetId), version === 5 ? '00' : '', text(filter), `0${qos}`)
}

export interface Publishing {
  qos?: QoS
  id?: number
  /** Of the first byte: 1 RETAIN, 8 DUP. */
  flags?: number
  /** Of MQTT 5, hex with its length. */
  properties?: string
}

export function publishing(
  version: ProtocolVersion,
  topic: string,
  payload: string,
  { qos = 0, id = 1, flags = 0, properties = '00' }: Publishing = {},
): Buffer {
  const header = (0x30 | flags | (qos << 1)).toString(16)
  return packet(
    header,
    text(topic),
    qos === 0 ? '' : u16(id),
    version === 5 ? properties : '',
    `"${payload}"`,
  )
}

/** `count` packets about one topic at one QoS, which is what a run is made of, with `topic` told before. */
export function series(
  version: ProtocolVersion,
  topic: string,
  qos: QoS,
  count: number,
  firstId = 1,
): Buffer[] {
  return Array.from({ length: count }, (_, i) =>
    publishing(version, topic, `m${i}`, { qos, id: firstId + i }),
  )
}

/** Counts the runs that publish several messages at once, until `restore`. */
export function countRuns() {
  const spy = vi.spyOn(HubClient.prototype, 'published')
  return {
    /** Runs of at least two messages since the last look. */
    take(): number {
      const count = spy.mock.calls.filter(([, , times]) => times > 1).length
      spy.mockClear()
      return count
    },
    restore: () => spy.mockRestore(),
  }
}

/** A message in one line. */
export function shown(message: Message | string): string {
  if (typeof message === 'string') return message
  const { topic, payload, qos, retain, from } = message
  return `${topic}=${Buffer.from(payload).toString()} q${qos}${retain ? ' retain' : ''} by ${from}`
}

/** Authorization that knows what it was asked before, as the chain's cache does. */
export function rememberingAuthorization(world: World, isDenied: (topic: string) => boolean): void {
  const known = new Map<string, Authorization>()
  const answer = (topic: string): Authorization => ({
    result: isDenied(topic) ? 'deny' : 'allow',
    from: 'test',
  })
  world.hub.hooks.add(
    'client.authorize',
    'remembering',
    (_, client: ClientInfo, action, topic) => {
      known.set(`${client.key} ${action.kind} ${topic}`, answer(topic))
      return { stop: answer(topic) }
    },
    {
      known: (times, _, client, action, topic) => {
        const found = known.get(`${client.key} ${action.kind} ${topic}`)
        if (found !== undefined) world.hub.metrics.authorization.cacheHit += times
        return found
      },
    },
  )
}
