import type { Delivery, Receiver, SessionOptions } from '../../broker/broker.ts'
import type { HubClient } from '../../broker/client.ts'
import { Hub, type HubOptions } from '../../broker/hub.ts'
import { MemoryStorage } from '../../broker/storage/storage-memory.ts'
import { HookBus } from '../../hooks/bus.ts'
import type { ClientInfo } from '../../model/client-info.ts'
import type { DisconnectReason } from '../../model/disconnect-reason.ts'
import { silentLogger } from '../../model/log.ts'
import { Message, type MessageProperties, type QoS } from '../../model/message.ts'
import type { Subscription } from '../../model/subscription.ts'
import { clientInfo } from '../support/client-info.ts'

export { clientInfo }

export const HUB_OPTIONS: HubOptions = {
  nodeName: 'test@127.0.0.1',
  session: {
    maxInflight: 32,
    maxQueueLength: 1000,
    priorities: undefined,
    queuesQos0: true,
    upgradesQos: false,
  },
  maxTopicLevels: 16,
  maxQos: 2,
  wildcardSubscription: true,
  sharedSubscription: true,
  sharing: { strategy: 'round_robin_per_group', initialStickyPick: 'random', groups: new Map() },
  retainer: {
    enabled: true,
    expiryMs: Number.POSITIVE_INFINITY,
    maxPayloadBytes: 1024,
    maxMessages: 10_000,
    hidesClearing: false,
    sweepIntervalMs: Number.POSITIVE_INFINITY,
    deliveryRate: { count: Number.POSITIVE_INFINITY, perMs: 1000 },
  },
  exclusiveSubscription: false,
  messageExpiryMs: Number.POSITIVE_INFINITY,
  maxSubscriptions: Number.POSITIVE_INFINITY,
  maxSessions: 1000,
  denyAction: 'ignore',
  noMatch: 'allow',
}

/** A hub on memory storage, started. Stop it at the test's end. */
export async function startHub(options: Partial<HubOptions> = {}): Promise<Hub> {
  const hub = new Hub(
    { ...HUB_OPTIONS, ...options },
    new MemoryStorage(),
    new HookBus(silentLogger),
    silentLogger,
  )
  await hub.start()
  return hub
}

/** What a peer got, and how its connection ended. */
export class RecordingReceiver implements Receiver {
  congested = false
  readonly deliveries: Delivery[] = []
  readonly released: number[] = []
  ended: DisconnectReason | undefined
  /** Payloads larger than this are not taken. */
  maxPayloadBytes = Number.POSITIVE_INFINITY

  deliver(delivery: Delivery): boolean {
    if (delivery.message.payload.length > this.maxPayloadBytes) return false
    this.deliveries.push({ ...delivery })
    return true
  }

  release(packetId: number): void {
    this.released.push(packetId)
  }

  end(reason: DisconnectReason): void {
    this.ended = reason
  }

  /** `topic=payload`, in order. */
  get texts(): string[] {
    return this.deliveries.map(({ message }) => `${message.topic}=${Buffer.from(message.payload).toString()}`)
  }

  get packetIds(): number[] {
    return this.deliveries.map((delivery) => delivery.packetId)
  }
}

export interface Peer {
  client: HubClient
  receiver: RecordingReceiver
  sessionPresent: boolean
}

export async function connect(
  hub: Hub,
  clientId: string,
  options: Partial<SessionOptions> = {},
  info: Partial<ClientInfo> = {},
): Promise<Peer> {
  const receiver = new RecordingReceiver()
  const wanted = { cleanStart: true, expiryIntervalMs: 0, receiveMaximum: 65_535, ...options }
  const login = { client: clientInfo(clientId, info), password: undefined, enableAuthn: true as const }
  const answer = await hub.connect(login, wanted, receiver)
  if (answer.kind === 'refused') throw new Error(`refused: ${answer.reason}`)
  const client = answer.client as HubClient
  client.start()
  return { client, receiver, sessionPresent: answer.sessionPresent }
}

export function subscription(
  filter: string,
  qos: QoS = 0,
  changes: Partial<Subscription> = {},
): Subscription {
  return {
    filter,
    qos,
    noLocal: false,
    retainAsPublished: false,
    retainHandling: 0,
    identifier: 0,
    ...changes,
  }
}

export function publish(
  peer: Pick<Peer, 'client'>,
  topic: string,
  payload = 'x',
  qos: QoS = 0,
  { retain = false, properties }: { retain?: boolean; properties?: MessageProperties } = {},
) {
  const message = Message.of(
    topic,
    Buffer.from(payload),
    qos,
    retain,
    properties,
    peer.client.info,
    Date.now(),
  )
  return peer.client.publish(message)
}
