import type { ClientinfoOverride } from '../../../gateways/clientinfo-override.ts'
import { type ContextSource, createContext } from '../../../gateways/context.ts'
import type { ListenerSettings } from '../../../gateways/gateway.ts'
import type { StompConfig } from '../../../gateways/stomp/config.ts'
import { encodeFrame, StompDecoder, type StompFrame } from '../../../gateways/stomp/frame.ts'
import type { StompVersion } from '../../../gateways/stomp/headers.ts'
import { stomp } from '../../../gateways/stomp/index.ts'
import { silentLogger } from '../../../model/log.ts'
import { FakeBroker } from './fake-broker.ts'
import { FakeTransport } from './fake-transport.ts'

/** A frame as tests compare it. */
export interface Seen {
  command: string
  headers: Record<string, string>
  body: string
}

export const NO_LIMITS = { maxHeaders: 1000, maxHeaderBytes: 65_536, maxBodyBytes: 1_048_576 }

export type StompChanges = Partial<Omit<StompConfig, 'clientinfo_override'>> & {
  clientinfo_override?: ClientinfoOverride
}

export function stompConfig(changes: StompChanges = {}): StompConfig {
  return {
    enable: true,
    enable_stats: true,
    idle_timeout: 30_000,
    mountpoint: '',
    clientinfo_override: { username: '${Packet.headers.login}', password: '${Packet.headers.passcode}' },
    listeners: {},
    frame: { max_headers: 10, max_headers_length: 1024, max_body_length: 65_536 },
    max_unacked: 32,
    max_subscriptions: 1000,
    max_transactions: 16,
    max_transaction_frames: 1000,
    max_transaction_bytes: 4 * 1024 * 1024,
    transaction_timeout: 60_000,
    ...changes,
  } as StompConfig
}

export interface StompBed {
  /** Unused where another `connect` was given. */
  readonly broker: FakeBroker
  readonly context: ReturnType<typeof createContext>
  readonly gateway: ReturnType<typeof stomp.create>
  /** A new peer, not logged in. */
  peer(listener?: Partial<ListenerSettings>): StompPeer
}

/** A STOMP gateway on a broker in memory. */
export function stompBed(changes: StompChanges = {}, source: Partial<ContextSource> = {}): StompBed {
  const broker = new FakeBroker()
  const connect: ContextSource['connect'] = (...args) => broker.connect(...args)
  const context = createContext('stomp', { connect, log: silentLogger, ...source })
  const gateway = stomp.create(stompConfig(changes), context)
  return {
    broker,
    context,
    gateway,
    peer(listener = {}) {
      const transport = new FakeTransport()
      gateway.accept(transport, { enableAuthn: true, mountpoint: undefined, ...listener })
      return new StompPeer(transport)
    },
  }
}

/** The client's side of a connection. */
export class StompPeer {
  readonly transport: FakeTransport
  readonly #decoder = new StompDecoder(NO_LIMITS)
  #rest = Buffer.alloc(0)

  constructor(transport: FakeTransport) {
    this.transport = transport
  }

  get isClosed(): boolean {
    return this.transport.state !== 'open'
  }

  /** Logs in and forgets the answer. */
  connect(version: StompVersion = '1.2', headers: Record<string, string> = {}): this {
    const accept = version === '1.0' ? {} : { 'accept-version': version, host: 'localhost' }
    this.send('CONNECT', { ...accept, ...headers })
    this.#decoder.version = version
    this.frames()
    return this
  }

  send(command: string, headers: Record<string, string> = {}, body: string | Uint8Array = ''): this {
    return this.raw(encodeFrame(command, Object.entries(headers), body, this.#decoder.version ?? '1.2'))
  }

  raw(bytes: Uint8Array | string): this {
    this.transport.receive(bytes)
    return this
  }

  /** The frames that came since the last call. */
  frames(): Seen[] {
    const bytes = Buffer.concat([this.#rest, this.transport.outbox.take()])
    const seen: Seen[] = []
    let at = 0
    while (at < bytes.length) {
      const frame = this.#decoder.decode(bytes, at)
      at = this.#decoder.position
      if (frame === undefined) break
      seen.push(seenOf(frame))
    }
    this.#rest = bytes.subarray(at)
    return seen
  }

  /** Waits until promises that were answered at once have been handled. */
  async settled(): Promise<Seen[]> {
    for (let i = 0; i < 50; i++) await Promise.resolve()
    return this.frames()
  }
}

export function seenOf({ command, headers, body }: StompFrame): Seen {
  const plain: Record<string, string> = {}
  headers.forEach((name, value) => {
    plain[name] = value
  })
  return { command, headers: plain, body: body.toString() }
}
