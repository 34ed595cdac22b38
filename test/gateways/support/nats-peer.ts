import { Type } from 'typebox'
import { loadConfig } from '../../../config/load.ts'
import { gatewaySchema } from '../../../gateways/config.ts'
import { type ContextSource, createContext } from '../../../gateways/context.ts'
import type { ListenerSettings } from '../../../gateways/gateway.ts'
import type { NatsConfig } from '../../../gateways/nats/config.ts'
import { nats } from '../../../gateways/nats/index.ts'
import { silentLogger } from '../../../model/log.ts'
import { FakeBroker } from './fake-broker.ts'
import { FakeTransport } from './fake-transport.ts'

const SCHEMA = gatewaySchema(nats, {}, Type.Object({}))

/** The config as the loader hands it over. @param changes - in the file's spelling */
export function natsConfig(changes: object = {}): NatsConfig {
  const { config } = loadConfig({
    schema: SCHEMA,
    file: undefined,
    env: {},
    overrides: changes,
  })
  return config as NatsConfig
}

export interface NatsBed {
  /** Unused where another `connect` was given. */
  readonly broker: FakeBroker
  readonly context: ReturnType<typeof createContext>
  readonly gateway: ReturnType<typeof nats.create>
  /** A new peer, not logged in. */
  peer(listener?: Partial<ListenerSettings>): NatsPeer
}

/** A NATS gateway on a broker in memory. */
export function natsBed(changes: object = {}, source: Partial<ContextSource> = {}): NatsBed {
  const broker = new FakeBroker()
  const connect: ContextSource['connect'] = (...args) => broker.connect(...args)
  const context = createContext('nats', { connect, log: silentLogger, ...source })
  const gateway = nats.create(natsConfig(changes), context)
  return {
    broker,
    context,
    gateway,
    peer(listener = {}) {
      const transport = new FakeTransport('nats:tcp:default')
      gateway.accept(transport, { enableAuthn: true, mountpoint: undefined, ...listener })
      return new NatsPeer(transport)
    },
  }
}

/** The client's side of a connection. */
export class NatsPeer {
  readonly transport: FakeTransport
  readonly info: Record<string, unknown>

  constructor(transport: FakeTransport) {
    this.transport = transport
    this.info = JSON.parse(transport.outbox.take().toString().slice('INFO '.length)) as Record<
      string,
      unknown
    >
  }

  get isClosed(): boolean {
    return this.transport.state !== 'open'
  }

  /** Logs in, not verbose unless told otherwise, and forgets the answer. */
  connect(options: object = {}): this {
    this.send(`CONNECT ${JSON.stringify({ verbose: false, headers: true, ...options })}`)
    this.said()
    return this
  }

  /** Lines, each with its end. */
  send(...lines: string[]): this {
    return this.raw(lines.map((line) => `${line}\r\n`).join(''))
  }

  raw(bytes: Uint8Array | string): this {
    this.transport.receive(bytes)
    return this
  }

  /** What came since the last call, line ends as `|`. */
  said(): string {
    return this.transport.outbox.take().toString().replaceAll('\r\n', '|')
  }

  /** Waits until promises that were answered at once have been handled. */
  async settled(): Promise<string> {
    for (let i = 0; i < 50; i++) await Promise.resolve()
    return this.said()
  }
}
