/**
 * An MQTT client that does nothing by itself: for what a well-behaved one cannot be told to do, such
 * as leaving in the middle of a handshake. The codec is mqtt-packet.
 */
import { once } from 'node:events'
import { connect } from 'node:net'
import { generate, type IConnectPacket, type Packet, parser } from 'mqtt-packet'
import { expect, onTestFinished } from 'vitest'
import type { Ports } from '../support/broker.ts'
import { Inbox } from '../support/inbox.ts'
import type { Version } from './mqtt-peer.ts'

export interface RawMqtt {
  send(packet: Packet): void
  next(): Promise<Packet>
  /** A ping is answered and nothing came before the answer. */
  expectSilence(): Promise<void>
  breakOff(): Promise<void>
}

const PROTOCOLS = {
  '3.1': { protocolId: 'MQIsdp', protocolVersion: 3 },
  '3.1.1': { protocolId: 'MQTT', protocolVersion: 4 },
  '5.0': { protocolId: 'MQTT', protocolVersion: 5 },
} as const

/** Connects and logs in; `version` as in `connectMqtt`. */
export async function connectRaw(
  { mqttPort }: Pick<Ports, 'mqttPort'>,
  version: Version,
  options: Partial<IConnectPacket> & { clientId: string },
): Promise<RawMqtt> {
  const protocol = PROTOCOLS[version]
  const socket = connect(mqttPort, '127.0.0.1')
  onTestFinished(() => void socket.destroy())
  const packets = new Inbox<Packet>(`a packet for ${options.clientId}`)
  const parsing = parser({ protocolVersion: protocol.protocolVersion })
  parsing.on('packet', (packet) => packets.put(packet))
  socket.on('data', (chunk: Buffer) => parsing.parse(chunk))
  const raw: RawMqtt = {
    send: (packet) => void socket.write(generate(packet, { protocolVersion: protocol.protocolVersion })),
    next: () => packets.next(),
    async expectSilence() {
      raw.send({ cmd: 'pingreq' })
      expect((await packets.next()).cmd).toBe('pingresp')
    },
    async breakOff() {
      socket.destroy()
      await once(socket, 'close')
    },
  }
  raw.send({ cmd: 'connect', keepalive: 60, clean: false, ...protocol, ...options })
  expect(await raw.next()).toMatchObject({ cmd: 'connack' })
  return raw
}
