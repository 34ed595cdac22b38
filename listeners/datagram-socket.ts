import { createSocket, type RemoteInfo, type Socket } from 'node:dgram'
import { lookup } from 'node:dns/promises'
import { once } from 'node:events'
import { isIP } from 'node:net'
import type { Bind } from '../model/schema.ts'
import type { Address } from './transport.ts'

/** `udp_options` of a listener. */
export interface UdpOptions {
  /** Receive and send buffers of the kernel; undefined = its own choice. */
  recbufBytes: number | undefined
  sndbufBytes: number | undefined
  /** Longest datagram that is taken; undefined = any. */
  bufferBytes: number | undefined
  reuseAddress: boolean
}

export interface SocketEvents {
  onDatagram(datagram: Buffer, from: RemoteInfo): void
  onError(error: Error): void
}

/** The kernel takes datagrams at once until its buffer is full; what then may wait in this process. */
const MAX_QUEUED_BYTES = 16 * 1024 * 1024
/** How often the queue is looked at, in datagrams: asking costs as much as a small part of sending. */
const QUEUE_CHECK_EVERY = 64
/** 65,535 less the headers of UDP and IPv4. */
export const MAX_UDP_BYTES = 65_507

/** A bound UDP socket that never waits and never throws. */
export class DatagramSocket {
  readonly #socket: Socket
  #closed = false
  #sent = 0
  #full = false

  private constructor(socket: Socket, events: SocketEvents) {
    this.#socket = socket
    socket.on('message', (datagram, from) => {
      // Nobody can answer to port 0, so whoever says it is from there lies.
      if (!this.#closed && from.port !== 0) events.onDatagram(datagram, from)
    })
    socket.on('error', (error) => events.onError(error))
  }

  /** Without a host: every address, IPv6 and IPv4 in one socket, or IPv4 where there is no IPv6. @throws what bind says */
  static async open(bind: Bind, options: UdpOptions, events: SocketEvents): Promise<DatagramSocket> {
    const host = bind.host === undefined || isIP(bind.host) ? bind.host : (await lookup(bind.host)).address
    let socket: Socket
    try {
      socket = await bound(host ?? '::', bind.port, options.reuseAddress)
    } catch (error) {
      if (host !== undefined || !isWithoutIpv6(error)) throw error
      socket = await bound('0.0.0.0', bind.port, options.reuseAddress)
    }
    const opened = new DatagramSocket(socket, events)
    opened.tune(options)
    return opened
  }

  get address(): Address {
    const { address, port } = this.#socket.address()
    return { host: address, port }
  }

  /** Takes other sizes of the kernel's buffers; the kernel has an upper bound of its own. */
  tune({ recbufBytes, sndbufBytes }: UdpOptions): void {
    if (recbufBytes !== undefined) this.#socket.setRecvBufferSize(recbufBytes)
    if (sndbufBytes !== undefined) this.#socket.setSendBufferSize(sndbufBytes)
  }

  get bufferSizes(): { recbufBytes: number; sndbufBytes: number } {
    return {
      recbufBytes: this.#socket.getRecvBufferSize(),
      sndbufBytes: this.#socket.getSendBufferSize(),
    }
  }

  /** @returns false if it was not sent: closed, too long, or too much is waiting */
  send(datagram: Uint8Array, port: number, host: string): boolean {
    if (this.#closed || datagram.length > MAX_UDP_BYTES) return false
    if (this.#full || this.#sent++ % QUEUE_CHECK_EVERY === 0) {
      this.#full = this.#socket.getSendQueueSize() > MAX_QUEUED_BYTES
      if (this.#full) return false
    }
    this.#socket.send(datagram, port, host)
    return true
  }

  /** The address is free at once. */
  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    const closed = once(this.#socket, 'close')
    this.#socket.close()
    await closed
  }
}

async function bound(host: string, port: number, reuseAddr: boolean): Promise<Socket> {
  const type = isIP(host) === 6 ? 'udp6' : 'udp4'
  const socket = createSocket({ type, reuseAddr, lookup: asItIs })
  try {
    const listening = once(socket, 'listening') // rejects on 'error'
    socket.bind(port, host)
    await listening
    return socket
  } catch (error) {
    socket.close()
    throw error
  }
}

/** Addresses are addresses: without this each datagram sent would go through the resolver's thread pool. */
function asItIs(
  host: string,
  _family: unknown,
  done: (error: null, address: string, family: number) => void,
): void {
  done(null, host, isIP(host))
}

function isWithoutIpv6(error: unknown): boolean {
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  return code === 'EAFNOSUPPORT' || code === 'EADDRNOTAVAIL' || code === 'EINVAL'
}
