import { Type } from 'typebox'
import { onTestFinished } from 'vitest'
import { loadConfig } from '../../../config/load.ts'
import { gatewaySchema, LISTENER_TYPES, type ListenerSchemas } from '../../../gateways/config.ts'
import { createContext } from '../../../gateways/context.ts'
import type { GatewayModule } from '../../../gateways/gateway.ts'
import { GatewayHost } from '../../../gateways/host.ts'
import type { StompConfig } from '../../../gateways/stomp/config.ts'
import { stomp } from '../../../gateways/stomp/index.ts'
import { streamListenerFactory } from '../../../gateways/stream-listeners.ts'
import { gatewayListenerDefaults, listenerSchema } from '../../../listeners/config.ts'
import { silentLogger } from '../../../model/log.ts'
import { FakeBroker } from './fake-broker.ts'

/** The schemas of a gateway's stream listeners. */
export function streamListenerSchemas(module: Pick<GatewayModule, 'webSocket'>): ListenerSchemas {
  const { path = '', subprotocols = [] } = module.webSocket ?? {}
  const webSocket = { pathOption: 'path', path, subprotocols, failIfNoSubprotocol: false } as const
  const kinds = ['tcp', 'tls', 'ws', 'wss'] as const
  return Object.fromEntries(
    kinds.map((kind) => [
      kind,
      listenerSchema(LISTENER_TYPES[kind], { ...gatewayListenerDefaults, webSocket }),
    ]),
  )
}

/** A STOMP gateway on real sockets, TCP and WebSocket, in front of a broker in memory. Ends with the test. */
export async function startStompHost(section: object = {}) {
  const bind = '127.0.0.1:0'
  const { config } = loadConfig({
    schema: gatewaySchema(stomp, streamListenerSchemas(stomp), Type.Object({})),
    file: undefined,
    env: {},
    overrides: { listeners: { tcp: { default: { bind } }, ws: { default: { bind } } }, ...section },
  })
  const broker = new FakeBroker()
  const connect: FakeBroker['connect'] = (...args) => broker.connect(...args)
  const context = createContext('stomp', { connect, log: silentLogger })
  const host = new GatewayHost(stomp, config as StompConfig, context, streamListenerFactory(silentLogger))
  await host.start()
  onTestFinished(() => host.stop(AbortSignal.abort()))
  const portOf = (type: string) => host.listener(`stomp:${type}:default`)?.address?.()?.port as number
  return { broker, host, tcpPort: portOf('tcp'), wsPort: portOf('ws') }
}
