import type { DisconnectReason } from '../../model/disconnect-reason.ts'
import type { Expression } from '../../model/expression.ts'
import type { Logger } from '../../model/log.ts'
import type { Message, QoS } from '../../model/message.ts'
import type { Hub } from '../hub.ts'
import type { TopicBytes } from './topic-bytes.ts'
import type { TopicCache } from './topic-cache.ts'

/** What of a TLS certificate names a client: common name, subject, DER, base64 of it, or its MD5 in hex. */
export type CertificateField = 'cn' | 'dn' | 'crt' | 'pem' | 'md5'

/** An attribute that clients get at login. */
export interface ClientAttribute {
  readonly expression: Expression
  readonly name: string
}

/** What concerns MQTT connections only; limits that hold for every protocol are in `HubOptions`. */
export interface MqttOptions {
  /** From the transport to a whole CONNECT, and from a challenge of enhanced authentication to its answer. */
  idleTimeoutMs: number
  maxPacketBytes: number
  /** In bytes of UTF-8, 23 to 65535. */
  maxClientIdBytes: number
  /** Topic aliases a client may use, 0 to 65535. */
  maxTopicAlias: number
  maxQos: QoS
  retainAvailable: boolean
  wildcardSubscription: boolean
  sharedSubscription: boolean
  /** Inbound QoS 2 messages that wait for PUBREL, per client. Told to MQTT 5 clients as Receive Maximum. */
  maxAwaitingRelease: number
  awaitReleaseTimeoutMs: number
  /** Of MQTT 3.x sessions without clean session. */
  sessionExpiryMs: number
  /** Upper bound for what MQTT 5 clients ask for. */
  maxSessionExpiryMs: number
  /** Overrides every client's keep alive; undefined = the client decides. */
  serverKeepAliveSeconds: number | undefined
  /** A client is gone after its keep alive times this. */
  keepAliveMultiplier: number
  /** No Local for MQTT 3.x clients. */
  ignoreLoopDeliver: boolean
  useUsernameAsClientId: boolean
  /** Goes before what CONNECT says, for clients with a certificate. */
  peerCertAsUsername: CertificateField | undefined
  peerCertAsClientId: CertificateField | undefined
  clientAttributes: readonly ClientAttribute[]
  /** Makes the client id of what else is known of the client. */
  clientIdOverride: Expression | undefined
  /** After this time without an acknowledgement MQTT 3 clients are sent a message again; Infinity = not while connected. */
  retryIntervalMs: number
  /** For clients that ask for it, where to expect responses; '' = they are told nothing. */
  responseInformation: string
}

/** What a listener adds. */
export interface MqttListenerSettings {
  enableAuthn: boolean | 'quick_deny_anonymous'
  /** With placeholders. */
  mountpoint: string
  zone: string
}

/** What all MQTT connections of a broker share. `options` may be replaced while they live. */
export interface MqttContext {
  readonly hub: Hub
  /** Topics of PUBLISH packets, as they come in and as they go out. */
  readonly topics: TopicCache
  readonly topicBytes: TopicBytes
  /** For hooks that only look: messages of runs at QoS 0, one after the other. Nobody has it at the moment. */
  spare?: Message | undefined
  readonly log: Logger
  /** Connections without a whole CONNECT: nobody else knows of them. */
  readonly newcomers: Set<{ close(reason: DisconnectReason): void }>
  options: MqttOptions
  /** Of zones that have options of their own. */
  zones?: ReadonlyMap<string, MqttOptions> | undefined
}
