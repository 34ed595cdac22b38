/** The class behind Aedes' Redis persistence; the package has no types. Of its methods those that are called here. */
declare module 'aedes-persistence-redis/asyncPersistence.js' {
  import type { Cluster, Redis } from 'ioredis'

  interface Subscription {
    topic: string
    qos: number
    clientId?: string
  }

  interface Packet {
    messageId?: number
  }

  /** What it keeps its subscriptions current with. */
  interface Broker {
    readonly id: string
    publish(packet: object, done: (error?: Error | null) => void): void
    subscribe(topic: string, listener: Listener, done: (error?: Error | null) => void): void
    unsubscribe(topic: string, listener: Listener, done: (error?: Error | null) => void): void
  }

  type Listener = (packet: object, done: () => void) => void

  export default class RedisPersistence {
    /** @param options.cluster - true: `conn` is a cluster */
    constructor(options: { conn: Redis | Cluster; cluster: boolean })
    setup(broker: Broker): Promise<void>
    /** Disconnects `conn`. Throws when it is called twice. */
    destroy(): Promise<void>
    addSubscriptions(client: { id: string }, subscriptions: Subscription[]): Promise<void>
    removeSubscriptions(client: { id: string }, topics: string[]): Promise<void>
    subscriptionsByClient(client: { id: string }): Promise<Subscription[]>
    countOffline(): Promise<{ subsCount: number; clientsCount: number }>
    subscriptionsByTopic(topic: string): Promise<Subscription[]>
    cleanSubscriptions(client: { id: string }): Promise<void>
    outgoingEnqueue(subscription: { clientId: string }, packet: Packet): Promise<void>
    outgoingEnqueueCombi(subscriptions: { clientId: string }[], packet: Packet): Promise<void>
    outgoingUpdate(client: { id: string }, packet: Packet): Promise<void>
    outgoingClearMessageId(client: { id: string }, packet: Packet): Promise<Packet | undefined>
    outgoingStream(client: { id: string }): AsyncIterable<Packet>
    incomingStorePacket(client: { id: string }, packet: Packet): Promise<void>
    incomingGetPacket(client: { id: string }, packet: Packet): Promise<Packet>
    incomingDelPacket(client: { id: string }, packet: Packet): Promise<void>
    getClientList(topic: string): Iterable<string>
  }
}
