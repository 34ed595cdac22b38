/** ADVERTISE (§6.1): tells clients on the same networks that there is a gateway. */
import { createSocket, type Socket } from 'node:dgram'
import { networkInterfaces } from 'node:os'
import { messageOf } from '../../model/errors.ts'
import type { Logger } from '../../model/log.ts'
import { encodeAdvertise } from './frame.ts'

/** T_ADV: more than 15 minutes (§7.2). */
const INTERVAL_SECONDS = 900

export class Advertiser {
  readonly #socket: Socket
  readonly #timer: NodeJS.Timeout
  readonly #send: () => void

  /** @param hosts - broadcast addresses; default: those of every IPv4 network */
  constructor(
    gatewayId: number,
    ports: readonly number[],
    log: Logger,
    hosts: () => string[] = broadcastHosts,
  ) {
    const datagram = encodeAdvertise(gatewayId, INTERVAL_SECONDS)
    this.#socket = createSocket('udp4')
    this.#socket.on('error', (error) => log.warn({ error: messageOf(error) }, 'ADVERTISE could not be sent'))
    this.#send = () => {
      // A network that is gone just now is no reason to leave out the others.
      const ignore = () => {}
      for (const host of hosts()) for (const port of ports) this.#socket.send(datagram, port, host, ignore)
    }
    this.#socket.bind(0, () => {
      this.#socket.setBroadcast(true)
      this.#send()
    })
    this.#timer = setInterval(this.#send, INTERVAL_SECONDS * 1000)
    this.#timer.unref()
    this.#socket.unref()
  }

  close(): void {
    clearInterval(this.#timer)
    this.#socket.close()
  }
}

/** 192.168.7.20/24 -> 192.168.7.255 */
export function broadcastOf(address: string, netmask: string): string {
  const mask = netmask.split('.').map(Number)
  return address
    .split('.')
    .map((byte, i) => Number(byte) | (~(mask[i] as number) & 255))
    .join('.')
}

function broadcastHosts(): string[] {
  return Object.values(networkInterfaces())
    .flatMap((addresses) => addresses ?? [])
    .filter(({ family }) => family === 'IPv4')
    .map(({ address, netmask }) => broadcastOf(address, netmask))
}
