import { ReasonCode } from '../../model/reason-codes.ts'
import type { HubClient } from '../client.ts'
import { sessionExpiryMs } from './connect-terms.ts'
import type { MqttConnection } from './connection.ts'
import { protocolError } from './mqtt-error.ts'
import type { DisconnectPacket } from './packets.ts'

/** The client says goodbye: with code 0 its will is forgotten, with any other one published [MQTT-3.14.4-3]. */
export function handleDisconnect(
  connection: MqttConnection,
  client: HubClient,
  packet: DisconnectPacket,
): void {
  connection.context.hub.metrics.packetsDisconnectReceived++
  const seconds = packet.properties?.sessionExpiryInterval
  if (seconds !== undefined) {
    const { session } = client
    // §3.14.2.2.2: a session that was to end with its connection cannot be kept after all
    if (session.expiryIntervalMs === 0 && seconds !== 0) {
      throw protocolError('session expiry interval was 0 in CONNECT and cannot be changed')
    }
    session.expiryIntervalMs = sessionExpiryMs(seconds, connection.options)
  }
  const { terms } = client.info
  if (terms !== undefined && packet.properties !== undefined)
    terms.disconnectProperties = { ...packet.properties }
  const reason = packet.code === ReasonCode.Success ? 'normal' : 'disconnect_with_will'
  client.close(reason)
  connection.closeQuietly(reason)
}
