/** A udp listener: every address that sends is a stranger until the gateway wants to remember it. */
import type { RemoteInfo } from 'node:dgram'
import type { Logger } from '../model/log.ts'
import { plainHost } from './access-rules.ts'
import { BaseDatagramListener, keyOf } from './datagram-listener.ts'
import { DatagramPeer, type DatagramPeerInfo } from './datagram-peer.ts'
import { MAX_UDP_BYTES } from './datagram-socket.ts'

export class UdpListener extends BaseDatagramListener<UdpPeer> {
  protected dispatch(key: string, datagram: Buffer, from: RemoteInfo): void {
    const known = this.peers.get(key)
    if (known !== undefined) return known.receive(datagram)
    if (!this.allows(from)) return
    const peer = this.#stranger(from)
    peer.handOver(this.onTransport)
    peer.receive(datagram)
    if (!peer.isKept) peer.close()
  }

  #stranger(from: RemoteInfo): UdpPeer {
    const peer = { host: plainHost(from.address), port: from.port }
    const info = { listenerId: this.id, peer, local: this.localAddress() }
    return new UdpPeer(info, this.log, {
      keep: (one) => {
        if (!this.admit(peer)) return false
        this.peers.set(keyOf(from), one)
        return true
      },
      forget: () => {
        this.peers.delete(keyOf(from))
        this.left()
      },
      send: (datagram) => this.send(datagram, from),
    })
  }
}

interface Table {
  keep(peer: UdpPeer): boolean
  forget(): void
  send(datagram: Uint8Array): boolean
}

export class UdpPeer extends DatagramPeer {
  readonly kind = 'udp'
  readonly maxDatagramBytes = MAX_UDP_BYTES
  isKept = false
  readonly #table: Table

  constructor(info: DatagramPeerInfo, log: Logger, table: Table) {
    super(info, log)
    this.#table = table
  }

  keep(farewell?: Uint8Array): boolean {
    if (this.isKept || !this.isOpen) return this.isOpen
    this.isKept = this.#table.keep(this)
    if (this.isKept) return true
    if (farewell !== undefined) this.send(farewell)
    this.close()
    return false
  }

  protected transmit(datagram: Uint8Array): boolean {
    return this.#table.send(datagram)
  }

  protected release(): void {
    if (this.isKept) this.#table.forget()
  }
}
