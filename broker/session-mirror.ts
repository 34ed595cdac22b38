import type { ClientInfo } from '../model/client-info.ts'
import type { Subscription } from '../model/subscription.ts'
import type { SessionDelivery } from './delivery.ts'
import type { DurableStore, SessionStore, StoredClient } from './storage/storage.ts'

/**
 * What a durable storage is told of one session, from its first day to its end. A session that ends with
 * its connection has none: nothing of it is promised to anybody.
 *
 * QoS 0 deliveries are not kept: they may be lost at any step.
 */
export class SessionMirror {
  readonly #key: string
  readonly #store: DurableStore
  readonly #sessions: SessionStore

  constructor(key: string, store: DurableStore) {
    this.#key = key
    this.#store = store
    this.#sessions = store.sessions
  }

  /** Settles when everything noted is safe, undefined when it is: see `DurableStore.unsafe`. */
  get unsafe(): Promise<void> | undefined {
    return this.#store.unsafe
  }

  save(info: ClientInfo, expiryIntervalMs: number, disconnectedAtMs: number | undefined): void {
    this.#sessions.save({ client: storedClient(info), expiryIntervalMs, disconnectedAtMs })
  }

  /** The session has ended; what hung on it is taken away before. */
  remove(): void {
    this.#sessions.remove(this.#key)
  }

  subscribed(subscription: Subscription): void {
    this.#sessions.subscribed(this.#key, subscription)
  }

  unsubscribed(filter: string): void {
    this.#sessions.unsubscribed(this.#key, filter)
  }

  /** It waits or is in flight: whoever published it has to wait until it is safe. */
  added(delivery: SessionDelivery): void {
    this.#sessions.added(this.#key, delivery)
    delivery.message.stored = this.#store.unsafe
  }

  changed(delivery: SessionDelivery): void {
    this.#sessions.changed(this.#key, delivery)
  }

  dropped(delivery: SessionDelivery): void {
    if (delivery.kept !== undefined) this.#sessions.dropped(this.#key, delivery)
  }

  received(packetId: number, sinceMs: number): void {
    this.#sessions.received(this.#key, packetId, sinceMs)
  }

  released(packetId: number): void {
    this.#sessions.released(this.#key, packetId)
  }

  /** Runs `then` once all that is noted now is safe, however long that takes. In the order of the calls. */
  whenSafe(then: () => void): void {
    const { unsafe } = this.#store
    if (unsafe === undefined) then()
    else unsafe.then(then, () => this.whenSafe(then))
  }
}

export function storedClient(info: ClientInfo): StoredClient {
  return {
    key: info.key,
    clientId: info.clientId,
    username: info.username,
    protocol: info.protocol,
    protocolName: info.protocolName,
    protocolVersion: info.protocolVersion,
    gateway: info.gateway,
    listener: info.listener,
    zone: info.zone,
    mountpoint: info.mountpoint,
    isBridge: info.isBridge,
    isSuperuser: info.isSuperuser,
    keepAliveSeconds: info.keepAliveSeconds,
    cleanStart: info.cleanStart,
    connectedAtMs: info.connectedAtMs,
    peerHost: info.peerHost,
    attributes: [...info.attributes],
  }
}

/** What comes back has no connection: no ports, no certificate, no rules that came with its login. */
export function returnedClient(client: StoredClient): ClientInfo {
  // Field by field: a copy of unknown shape takes ten times as long and more memory, for each of many sessions.
  return {
    key: client.key,
    clientId: client.clientId,
    username: client.username,
    protocol: client.protocol,
    protocolName: client.protocolName,
    protocolVersion: client.protocolVersion,
    gateway: client.gateway,
    listener: client.listener,
    zone: client.zone,
    mountpoint: client.mountpoint,
    isBridge: client.isBridge,
    isSuperuser: client.isSuperuser,
    keepAliveSeconds: client.keepAliveSeconds,
    cleanStart: client.cleanStart,
    connectedAtMs: client.connectedAtMs,
    peerHost: client.peerHost,
    attributes: new Map(client.attributes),
    peerPort: 0,
    localPort: 0,
    certificate: undefined,
    acl: undefined,
    authExpiresAtMs: undefined,
  }
}
