import { arrivingClient, type ClientInfo } from '../../model/client-info.ts'

const HERE = {
  listenerId: 'tcp:default',
  peer: { host: '127.0.0.1', port: 50_000 },
  local: { port: 1883 },
  certificate: undefined,
}

/** An MQTT 5 client as the broker knows it, with what the test is about. */
export function clientInfo(clientId: string, changes: Partial<ClientInfo> = {}): ClientInfo {
  return arrivingClient(HERE, {
    key: clientId,
    clientId,
    username: undefined,
    protocol: 'mqtt',
    protocolName: 'MQTT',
    protocolVersion: '5',
    gateway: undefined,
    keepAliveSeconds: 60,
    cleanStart: true,
    connectedAtMs: 0,
    ...changes,
  })
}
