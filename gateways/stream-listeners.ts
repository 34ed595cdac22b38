import type { ListenerConfig as StreamListenerConfig } from '../listeners/config.ts'
import { createListener, type ListenerContext } from '../listeners/listener.ts'
import { readListener } from '../listeners/options.ts'
import type { TransportKind } from '../listeners/transport.ts'
import { BrokerError } from '../model/errors.ts'
import type { Logger } from '../model/log.ts'
import { LISTENER_TYPES, type ListenerConfig } from './config.ts'
import type { CreateListener } from './host.ts'

const STREAM_KINDS = ['tcp', 'tls', 'ws', 'wss'] as const satisfies readonly TransportKind[]

/**
 * Makes the TCP, TLS and WebSocket listeners of gateways, for their hosts.
 * @throws (the factory) BrokerError CONFIG_INVALID for a kind that is no stream, a bad access rule, a bad certificate
 */
export function streamListenerFactory(log: Logger, context: ListenerContext = {}): CreateListener {
  return ({ id, kind, config, webSocket }, accept) => {
    const streamKind = STREAM_KINDS.find((one) => one === kind)
    if (streamKind === undefined)
      throw new BrokerError('CONFIG_INVALID', `listener ${id}: ${kind} is no stream`)
    const optionsOf = (from: ListenerConfig) =>
      // The loader has read it by the schema of its type.
      readListener(id, LISTENER_TYPES[streamKind], from as StreamListenerConfig, webSocket?.frames)
    const listener = createListener(optionsOf(config), accept, log, context)
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
