/** A client as the durable storage keeps it. */
import { arrivingClient } from '../../dist/model/client-info.js'

/** @param key - its id too */
export function client(key) {
  const origin = {
    listenerId: 'tcp:default',
    peer: { host: '10.1.2.3', port: 40_000 },
    local: { port: 1883 },
    certificate: undefined,
  }
  return arrivingClient(origin, {
    key,
    clientId: key,
    username: `user of ${key}`,
    protocol: 'mqtt',
    protocolName: 'MQTT',
    protocolVersion: '5',
    gateway: undefined,
    keepAliveSeconds: 60,
    cleanStart: false,
    connectedAtMs: Date.now(),
  })
}
