/** mosquitto_pub and mosquitto_sub, as the distribution has them. */
import { type ChildProcess, spawn } from 'node:child_process'
import { inject, onTestFinished } from 'vitest'
import { hookRun, type Ports, type TestBroker } from '../support/broker.ts'
import { Inbox, within } from '../support/inbox.ts'
import { requireService } from '../support/services.ts'
import type { Version } from './mqtt-peer.ts'

export const mosquittoPub = requireService('mosquitto_pub')
export const mosquittoSub = requireService('mosquitto_sub')

const PROTOCOLS: Record<Version, string> = { '3.1': 'mqttv31', '3.1.1': 'mqttv311', '5.0': 'mqttv5' }

/** How to reach the broker: by `-V`, and over TLS with `--cafile`. */
export interface Reach {
  version: Version
  via?: 'tcp' | 'tls'
  /** Trusted instead of the CA of these tests. */
  cafile?: string
}

export interface Finished {
  code: number | null
  stderr: string
}

/** Publishes one message. @param args - such as `-t topic -m text -q 1` */
export async function publish(ports: Ports, reach: Reach, args: string[]): Promise<Finished> {
  const child = start(mosquittoPub, ports, reach, args)
  const finished = finish(child)
  return within(finished, `mosquitto_pub ${args.join(' ')}`)
}

export interface Subscriber {
  /** What it prints, line by line: `topic qos retain payload`. */
  lines: Inbox<string>
  finished: Promise<Finished>
  /** Ends it without a goodbye. */
  kill(): void
}

/**
 * Subscribes; resolves when the broker has it.
 * @param args - such as `-t filter -q 1`
 */
export async function subscribe(
  broker: TestBroker,
  reach: Reach,
  clientId: string,
  args: string[],
): Promise<Subscriber> {
  const subscribed = hookRun(broker, 'session.subscribed', clientId)
  const subscriber = listen(broker, reach, ['-i', clientId, ...args])
  const failed = subscriber.finished.then(({ stderr }) => {
    throw new Error(`mosquitto_sub has ended: ${stderr}`)
  })
  failed.catch(() => {}) // of interest only until it is subscribed
  await Promise.race([subscribed, failed])
  return subscriber
}

/** Starts it, without waiting for anything. */
export function listen(ports: Ports, reach: Reach, args: string[]): Subscriber {
  const format = args.includes('-F') ? [] : ['-F', '%t %q %r %p']
  const child = start(mosquittoSub, ports, reach, [...format, ...args])
  const lines = new Inbox<string>('a line of mosquitto_sub')
  let rest = ''
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    const found = (rest + text).split('\n')
    rest = found.pop() ?? ''
    for (const line of found) lines.put(line)
  })
  return { lines, finished: finish(child), kill: () => void child.kill('SIGKILL') }
}

function start(service: typeof mosquittoPub, ports: Ports, reach: Reach, args: string[]): ChildProcess {
  if (service.skip) throw new Error(service.reason)
  const { version, via = 'tcp', cafile = inject('certs').ca } = reach
  const port = via === 'tls' ? ports.tlsPort : ports.mqttPort
  const secure = via === 'tls' ? ['--cafile', cafile] : []
  const to = ['-h', '127.0.0.1', '-p', String(port), '-V', PROTOCOLS[version], ...secure]
  const child = spawn(service.path, [...to, ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
  onTestFinished(() => void child.kill('SIGKILL'))
  return child
}

function finish(child: ChildProcess): Promise<Finished> {
  let stderr = ''
  child.stderr?.setEncoding('utf8').on('data', (text: string) => (stderr += text))
  return new Promise((resolve) => child.on('close', (code) => resolve({ code, stderr })))
}
