/**
 * Forwarder encapsulation (§5.5): a forwarder carries the messages of devices that cannot reach the gateway themselves,
 * all from its own address.
 *
 *     length 1 (of this header) | FE | control 1 (bits 1-0: radius) | wireless node id | message
 *
 * Each node id is a peer of its own here. What a forwarder says without a header is a peer too, with the empty node id.
 */
import type { DatagramHandler, DatagramTransport } from '../../listeners/datagram.ts'
import { DatagramPeer } from '../../listeners/datagram-peer.ts'
import type { CloseReason } from '../../listeners/transport.ts'
import { BrokerError } from '../../model/errors.ts'
import type { Logger } from '../../model/log.ts'

const ENCAPSULATED = 0xfe
const HEADER_BYTES = 3
/** Addresses of radios have 2 to 16 bytes. */
const MAX_NODE_ID_BYTES = 32
/** Nodes of a forwarder that are remembered; one more is told that there is congestion. */
const MAX_NODES = 1024

/** @returns the length of the header, or undefined if a datagram has none */
export function forwarderHeader(datagram: Buffer): number | undefined {
  const length = datagram[0] as number
  if (datagram[1] !== ENCAPSULATED || length <= HEADER_BYTES || length >= datagram.length) return undefined
  return length - HEADER_BYTES > MAX_NODE_ID_BYTES ? undefined : length
}

/** What a forwarder needs of its gateway. */
export interface ForwarderOwner {
  readonly log: Logger
  /** How long a forwarder is remembered that carries for nobody. */
  readonly idleTimeoutMs: number
  /** Gives a new node its handler. */
  accept(node: DatagramTransport): void
  malformed(): void
  /** It has gone. */
  gone(forwarder: Forwarder): void
}

export class Forwarder implements DatagramHandler {
  readonly #transport: DatagramTransport
  readonly #owner: ForwarderOwner
  /** The remembered ones, by node id in hexadecimal. */
  readonly #nodes = new Map<string, ForwardedNode>()

  constructor(transport: DatagramTransport, owner: ForwarderOwner) {
    this.#transport = transport
    this.#owner = owner
    transport.handler = this
  }

  onDatagram(datagram: Buffer): void {
    const isEncapsulated = datagram[1] === ENCAPSULATED && datagram[0] !== 1
    const length = isEncapsulated ? forwarderHeader(datagram) : 0
    if (length === undefined) return this.#owner.malformed()
    const id = datagram.toString('hex', HEADER_BYTES, length)
    const message = length === 0 ? datagram : datagram.subarray(length)
    const known = this.#nodes.get(id)
    if (known !== undefined) return known.receive(message)
    const node = new ForwardedNode(this.#transport, idBytes(id), this.#owner.log, {
      keep: (one, farewell) => this.#keep(id, one, farewell),
      forget: (one) => this.#forget(id, one),
    })
    node.handOver((transport) => this.#owner.accept(transport))
    node.receive(message)
    if (!node.isKept) node.close() // as with any stranger: nothing is left of it
  }

  onClose(reason: CloseReason): void {
    for (const node of this.#nodes.values()) node.closeBecause(reason)
    this.#owner.gone(this)
  }

  /** Ends nodes that have been silent for too long. */
  sweep(): void {
    const nowMs = performance.now()
    for (const node of this.#nodes.values()) {
      if (nowMs - node.heardAtMs < node.idleTimeoutMs) continue
      const text = `nothing came for ${node.idleTimeoutMs} ms`
      node.closeBecause({ kind: 'error', error: new BrokerError('LIMIT_EXCEEDED', text) })
    }
  }

  #keep(id: string, node: ForwardedNode, farewell: Uint8Array | undefined): boolean {
    if (this.#nodes.size >= MAX_NODES) return false
    if (!this.#transport.keep(farewell && Buffer.concat([node.header, farewell]))) return false
    this.#nodes.set(id, node)
    this.#transport.idleTimeoutMs = Number.POSITIVE_INFINITY
    return true
  }

  #forget(id: string, node: ForwardedNode): void {
    if (this.#nodes.get(id) === node) this.#nodes.delete(id)
    if (this.#nodes.size === 0) this.#transport.idleTimeoutMs = this.#owner.idleTimeoutMs
  }
}

interface NodeTable {
  keep(node: ForwardedNode, farewell: Uint8Array | undefined): boolean
  forget(node: ForwardedNode): void
}

/** One device behind a forwarder. */
export class ForwardedNode extends DatagramPeer {
  readonly kind: 'udp' | 'dtls'
  readonly maxDatagramBytes: number
  isKept = false
  readonly #through: DatagramTransport
  readonly header: Buffer
  readonly #table: NodeTable

  constructor(through: DatagramTransport, nodeId: Buffer, log: Logger, table: NodeTable) {
    super(through, log)
    this.kind = through.kind
    this.#through = through
    this.#table = table
    // Control 0: the radius is for broadcasts.
    this.header =
      nodeId.length === 0
        ? nodeId
        : Buffer.concat([Buffer.from([HEADER_BYTES + nodeId.length, ENCAPSULATED, 0]), nodeId])
    this.maxDatagramBytes = through.maxDatagramBytes - this.header.length
  }

  keep(farewell?: Uint8Array): boolean {
    if (this.isKept || !this.isOpen) return this.isOpen
    this.isKept = this.#table.keep(this, farewell)
    if (this.isKept) return true
    if (farewell !== undefined) this.send(farewell)
    this.close()
    return false
  }

  protected transmit(datagram: Uint8Array): boolean {
    return this.#through.send(this.header.length === 0 ? datagram : Buffer.concat([this.header, datagram]))
  }

  protected release(): void {
    if (this.isKept) this.#table.forget(this)
  }
}

function idBytes(id: string): Buffer {
  return Buffer.from(id, 'hex')
}
