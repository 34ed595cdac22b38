import { messageOf } from '../model/errors.ts'
import type { Logger } from '../model/log.ts'
import { AccessRules } from './access-rules.ts'
import { ConnectionGate } from './connection-limits.ts'
import type { DatagramListener, OnDatagramTransport } from './datagram-listener.ts'
import type { DatagramListenerOptions } from './datagram-options.ts'
import { DtlsListener } from './dtls/dtls-listener.ts'
import type { DtlsPskLookup } from './dtls/engine.ts'
import { loadNative, type Native } from './dtls/native.ts'
import { UdpListener } from './udp.ts'

/** What udp and dtls listeners of one process may share. */
export interface DatagramContext {
  /** Undefined = there are no pre-shared keys. */
  pskLookup?: DtlsPskLookup | undefined
  /** Default: the addon. @throws where there is none */
  loadNative?: () => Native
}

/**
 * @param onTransport - sets `transport.handler` before it returns
 * @throws BrokerError CONFIG_INVALID: bad access rule, unreadable certificate
 */
export function createDatagramListener(
  options: DatagramListenerOptions,
  onTransport: OnDatagramTransport,
  log: Logger,
  context: DatagramContext = {},
): DatagramListener {
  if (options.kind === 'udp') return new UdpListener(options, onTransport, log)
  let native: Native
  try {
    native = (context.loadNative ?? loadNative)()
  } catch (error) {
    return new UnavailableListener(options, log, messageOf(error))
  }
  return new DtlsListener(options, onTransport, log, native, context.pskLookup)
}

/** In place of a dtls listener where DTLS is not to be had: says so when it is started, and everything else runs. */
class UnavailableListener implements DatagramListener {
  readonly id: string
  readonly counters: DatagramListener['counters']
  readonly running = false
  readonly #log: Logger
  readonly #why: string

  constructor(options: DatagramListenerOptions, log: Logger, why: string) {
    this.id = options.id
    this.counters = new ConnectionGate({ ...options, rules: new AccessRules([]) }).counters
    this.#log = log
    this.#why = why
  }

  async start(): Promise<void> {
    this.#log.error({ listener: this.id, error: this.#why }, 'this listener is not started: no DTLS here')
  }

  address(): undefined {}
  update(): void {}
  async stop(): Promise<void> {}
  async drained(): Promise<void> {}
  closeAll(): void {}
}
