import type { PeerCertificate } from '../model/client-info.ts'
import type { Pace } from './pace.ts'

export type TransportKind = 'tcp' | 'tls' | 'ws' | 'wss' | 'udp' | 'dtls'

export interface Address {
  host: string
  port: number
}

/**
 * Bytes on their way to one peer. Everything written during a turn of the event
 * loop leaves as one write at its end. Never blocks and never refuses: who writes
 * looks at `congested` first and drops, queues or waits.
 */
export interface Outbox {
  /** Where `reserve` puts bytes. Another object after each `reserve`: read it afterwards. */
  readonly buffer: Buffer
  /** True from `high_watermark` unsent bytes on, until the peer has read most of them. */
  readonly congested: boolean
  readonly unsentBytes: number
  /** Bytes that it takes at least before it is congested. */
  readonly room: number
  /** Makes room for `size` bytes and returns their offset in `buffer`. The caller fills all of them at once. */
  reserve(size: number): number
  /** Small ones are copied, large ones kept as they are until sent, so they must not change. */
  append(bytes: Uint8Array): void
  /**
   * Passes on the packet `bytes[start..end)`, which nobody may change any more. Those that follow each other
   * there cost one copy, or none.
   * @param id - big endian and of two bytes, written over what is at `bytes[idAt]`; 0 = it stays as it is
   */
  relay(bytes: Uint8Array, start: number, end: number, idAt: number, id: number): void
}

/** Why a transport is gone: for the log, the hooks and the API. */
export type CloseReason =
  | { kind: 'peer_closed' }
  | { kind: 'local' } // end() or destroy() of our own side
  | { kind: 'error'; error: Error }
  | { kind: 'send_timeout' }

/** What a connection does with its transport's events. No method may throw. */
export interface TransportHandler {
  /**
   * `bytes[start..end)` has come; what lies around it is of others. It stays as it is unless `leavesNothing` says that
   * it need not, but who keeps a piece of it keeps all of `bytes` alive: see `Message.own`.
   */
  onData(bytes: Buffer, start: number, end: number): void
  /**
   * Looked at after each `onData`: true if nothing refers to those bytes after this turn of the event loop, outboxes
   * excepted. Then the memory is used again.
   */
  readonly leavesNothing?: boolean
  /** The outbox has fallen below its low watermark after having been congested. */
  onDrain(): void
  /** Called once, last. */
  onClose(reason: CloseReason): void
}

/** One peer's byte stream or datagrams, whatever carries them. */
export interface Transport {
  readonly kind: TransportKind
  /** `tcp:default`, `stomp:ws:default` */
  readonly listenerId: string
  /** The client's own address: the one told by PROXY protocol or by a trusted header where configured. */
  readonly peer: Address
  readonly local: Address
  readonly certificate: PeerCertificate | undefined
  readonly outbox: Outbox
  /** How fast the peer may send; undefined = as fast as it can. A reload may change it. */
  readonly pace?: Pace | undefined
  /** Bytes received and sent so far. */
  readonly bytesReceived: number
  readonly bytesSent: number
  /** Set exactly once, within the turn in which the transport was handed out. */
  handler: TransportHandler
  /** Stops reading, so that the peer feels it; what the kernel holds stays there. */
  pause(): void
  resume(): void
  /** Sends what is in the outbox, then closes; gives up after a few seconds. */
  end(): void
  /** Closes now; what is in the outbox is lost. */
  destroy(): void
}
