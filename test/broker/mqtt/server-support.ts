import type { TestContext } from 'vitest'
import type { Hub } from '../../../broker/hub.ts'
import { MqttConnection } from '../../../broker/mqtt/connection.ts'
import type { MqttOptions } from '../../../broker/mqtt/options.ts'
import type { ListenerOptions } from '../../../listeners/options.ts'
import type { Transport } from '../../../listeners/transport.ts'
import { listen, tcpOptions } from '../../listeners/support.ts'
import { mqttContext } from './raw-peer.ts'

const SETTINGS = { enableAuthn: true, mountpoint: '', zone: 'default' } as const

/** MQTT on a real socket in front of `hub`, a tcp listener unless `changes` say otherwise. Ends with the test. */
export async function startServer(
  t: TestContext,
  hub: Hub,
  changes: Partial<ListenerOptions> = {},
  options: Partial<MqttOptions> = {},
) {
  const context = mqttContext(hub, options)
  /** Of everybody who has come, in order. */
  const transports: Transport[] = []
  const serve = (transport: Transport) => {
    transports.push(transport)
    new MqttConnection(transport, context, SETTINGS)
  }
  const { listener, port } = await listen(t, tcpOptions(changes), serve)
  /** Other options of the listener, as after a reload. */
  const update = (wanted: Partial<ListenerOptions>) => listener.update(tcpOptions(wanted))
  return { listener, port, transports, update }
}
