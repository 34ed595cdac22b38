import type { DatagramTransport } from '../listeners/datagram.ts'
import type { DatagramListenerConfig } from '../listeners/datagram-config.ts'
import { createDatagramListener, type DatagramContext } from '../listeners/datagram-listeners.ts'
import { readDatagramListener } from '../listeners/datagram-options.ts'
import { DatagramStream } from '../listeners/datagram-stream.ts'
import { FlushQueue } from '../listeners/flush-queue.ts'
import type { ListenerContext } from '../listeners/listener.ts'
import { BrokerError } from '../model/errors.ts'
import type { Logger } from '../model/log.ts'
import type { ListenerConfig } from './config.ts'
import type { CreateListener } from './host.ts'
import { streamListenerFactory } from './stream-listeners.ts'

/** What the listeners of gateways may share. A `pskLookup` that has to wait is for DTLS alone: TLS cannot wait. */
export interface GatewayListenerContext extends ListenerContext {
  datagrams?: DatagramContext
}

/** Makes the listeners of gateways, for their hosts: streams and datagrams. */
export function listenerFactory(log: Logger, context: GatewayListenerContext = {}): CreateListener {
  const streams = streamListenerFactory(log, context)
  const datagrams = datagramListenerFactory(log, context)
  return (plan, accept) =>
    plan.kind === 'udp' || plan.kind === 'dtls' ? datagrams(plan, accept) : streams(plan, accept)
}

/**
 * Makes the UDP and DTLS listeners of gateways. What they hand out are transports with datagrams behind them: see
 * `datagramsOf`.
 * @throws (the factory) BrokerError CONFIG_INVALID for a kind that is a stream, a bad access rule, a bad certificate
 */
export function datagramListenerFactory(log: Logger, context: GatewayListenerContext = {}): CreateListener {
  const flushQueue = context.flushQueue ?? new FlushQueue()
  const { datagrams = { pskLookup: context.pskLookup } } = context
  return ({ id, kind, config }, accept) => {
    if (kind !== 'udp' && kind !== 'dtls')
      throw new BrokerError('CONFIG_INVALID', `listener ${id}: ${kind} carries no datagrams`)
    const optionsOf = (from: ListenerConfig) =>
      // The loader has read it by the schema of its type.
      readDatagramListener(id, kind, from as unknown as DatagramListenerConfig)
    const take = (datagramTransport: DatagramTransport) =>
      accept(new DatagramStream(datagramTransport, flushQueue))
    const listener = createDatagramListener(optionsOf(config), take, log, datagrams)
    return {
      start: () => listener.start(),
      stop: () => listener.stop(),
      drained: (signal) => listener.drained(signal),
      closeAll: () => listener.closeAll(),
      update: (plan) => listener.update(optionsOf(plan.config)),
      address: () => listener.address(),
      counters: () => listener.counters,
    }
  }
}
