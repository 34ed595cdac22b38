import type { TSchema } from 'typebox'
import type { Connected, Receiver, Refused, SessionOptions } from '../broker/broker.ts'
import type { Transport, TransportKind } from '../listeners/transport.ts'
import type { WebSocketFrames } from '../listeners/ws-transport.ts'
import type { Login, Verdict } from '../model/access.ts'
import type { MaybePromise } from '../model/async.ts'
import type { DisconnectReason } from '../model/disconnect-reason.ts'
import type { ExplainedStep } from '../model/explanation.ts'
import type { Logger } from '../model/log.ts'
import type { ListenerConfig } from './config.ts'
import type { Counters } from './counters.ts'

/** What a listener adds to the clients that come through it. */
export interface ListenerSettings {
  readonly enableAuthn: boolean | 'quick_deny_anonymous'
  /** Overrides the gateway's mountpoint when set. */
  readonly mountpoint: string | undefined
  /** Its clients have to pass an authenticator, of its own or of the gateway. */
  readonly isGuarded?: boolean
  /** Everything that is configured for it, for what only one gateway needs. */
  readonly config?: ListenerConfig
}

/** All a gateway may reach. It never sees Aedes, sockets or a database. */
export interface GatewayContext {
  readonly log: Logger
  /** Of this gateway: `packets.send.received`, `delivery.dropped.no_subid`, ... */
  readonly counters: Counters
  /** Unix time in milliseconds. */
  now(): number
  /** Logs a client in: hooks, authentication, takeover within this gateway, session. */
  connect(login: Login, options: SessionOptions, receiver: Receiver): MaybePromise<Connected | Refused>
  /** The client table key of a client id in this gateway. */
  keyOf(clientId: string): string
}

/** A running gateway. The host (host.ts) binds its listeners and hands it their transports. */
export interface Gateway<Config> {
  /** Takes over a new peer: sets `transport.handler` before it returns. */
  accept(transport: Transport, listener: ListenerSettings): void
  /** Takes a new config without dropping clients. */
  update(config: Config): void
  /** Tells every peer, if its protocol can, that it ends and why, and ends it. Without this the listeners just cut them. */
  endAll?(reason: DisconnectReason): void
}

/** What a gateway makes of a login that is none. */
export interface OwnAnswer {
  readonly steps: readonly ExplainedStep[]
  /** Undefined: the authenticators decide. */
  readonly verdict: Extract<Verdict, { kind: 'allow' | 'deny' }> | undefined
}

export interface GatewayModule<Config = unknown> {
  readonly name: string
  /** As access rules, hooks and the API name its protocol: `mqtt-sn` for the gateway `mqttsn`. */
  readonly protocol: string
  readonly listenerTypes: readonly TransportKind[]
  /** Its own options, beside those that every gateway has (config.ts). */
  readonly schema: TSchema
  /** WebSocket subprotocols and path where `listenerTypes` has ws or wss. */
  readonly webSocket?: {
    readonly path: string
    readonly subprotocols: readonly string[]
    readonly frames: WebSocketFrames
  }
  /** Whether `tls` listeners hand over their peers in clear, for the gateway to begin TLS itself. Default: no. */
  acceptsInClear?(config: Config): boolean
  /**
   * For operators: whom it asks itself about a login, before the authenticators. Default: nobody.
   * @param hasMore - authenticators come after it
   */
  explainLogin?(config: Config, login: Login, hasMore: boolean): Promise<OwnAnswer>
  create(config: Config, context: GatewayContext): Gateway<Config>
}

/** Declares a gateway; the list is index.ts. Importing does nothing. */
export function defineGateway<Config>(module: GatewayModule<Config>): GatewayModule<Config> {
  return module
}
