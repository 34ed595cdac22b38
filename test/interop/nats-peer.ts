/** NATS clients for the interop tests: the official ones for Node and for WebSocket, and the reference server. */
import { type ChildProcess, spawn } from 'node:child_process'
import { type ConnectionOptions, connect, type Msg, type NatsConnection } from '@nats-io/transport-node'
import { connect as connectWs, type ConnectionOptions as WsOptions } from 'nats.ws'
import { inject, onTestFinished } from 'vitest'
import { WebSocket } from 'ws'
import { startBroker, type TestBroker, tlsOptions } from '../support/broker.ts'
import { Inbox, within } from '../support/inbox.ts'
import { requireService } from '../support/services.ts'
import type { Transport } from './mqtt-peer.ts'

export const natsServer = requireService('nats-server')

const LOOPBACK = { bind: '127.0.0.1:0' }

/**
 * A broker with NATS listeners of every kind.
 * @param changes - to `gateway.nats`
 * @param dir - where they find their files
 * @param more - changes to the rest of the config
 */
export async function startNatsBroker(
  changes: object = {},
  dir?: string,
  more: object = {},
): Promise<TestBroker> {
  const secure = { ...LOOPBACK, ...tlsOptions() }
  const listeners = {
    tcp: { default: LOOPBACK },
    ssl: { default: secure },
    ws: { default: LOOPBACK },
    wss: { default: secure },
  }
  return startBroker({ ...more, gateway: { nats: { listeners, ...changes } } }, dir)
}

const LISTENERS: Record<Transport, string> = { tcp: 'tcp', tls: 'ssl', ws: 'ws', wss: 'wss' }

export function natsPort(broker: TestBroker, via: Transport = 'tcp'): number {
  return broker.log.addressOf(`nats:${LISTENERS[via]}:default`)?.port ?? -1
}

/** Connects the official client; it is closed when the test ends. */
export async function connectNats(port: number, options: ConnectionOptions = {}): Promise<NatsConnection> {
  const client = await within(
    connect({ servers: `127.0.0.1:${port}`, reconnect: false, ...options }),
    'a NATS connection',
  )
  onTestFinished(() => client.close())
  return client
}

/** The client for WebSocket. */
export async function connectNatsWs(port: number, via: 'ws' | 'wss', options: WsOptions = {}) {
  // The library takes the WebSocket of a browser; Node gets one whose sockets trust the CA of these tests.
  Object.assign(globalThis, { WebSocket: TrustingWebSocket })
  const client = await within(
    connectWs({ servers: `${via}://127.0.0.1:${port}`, reconnect: false, ...options }),
    `a NATS connection over ${via}`,
  )
  onTestFinished(() => client.close())
  return client
}

class TrustingWebSocket extends WebSocket {
  constructor(url: string) {
    super(url, [], { rejectUnauthorized: false })
  }
}

/** What comes on `subject`, as it comes. */
export function listen(
  client: NatsConnection,
  subject: string,
  options: { queue?: string } = {},
): Inbox<Msg> {
  const inbox = new Inbox<Msg>(`a message on ${subject}`)
  client.subscribe(subject, { ...options, callback: (error, message) => void (error ?? inbox.put(message)) })
  return inbox
}

/** The reference server on a free port; it ends with the test. @returns its port */
export async function startReferenceServer(): Promise<number> {
  if (natsServer.skip) throw new Error(natsServer.reason)
  const child = spawn(natsServer.path, ['-a', '127.0.0.1', '-p', '-1'], {
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  onTestFinished(() => void child.kill('SIGKILL'))
  return within(portOf(child), 'the port of nats-server')
}

function portOf(child: ChildProcess): Promise<number> {
  return new Promise((resolve) => {
    let text = ''
    child.stderr?.setEncoding('utf8').on('data', (more: string) => {
      text += more
      const port = /client connections on \S+:(\d+)[\s\S]*ready/.exec(text)?.[1]
      if (port !== undefined) resolve(Number(port))
    })
  })
}

/** TLS options that trust the CA of these tests. */
export function trust(): { caFile: string } {
  return { caFile: inject('certs').ca }
}
