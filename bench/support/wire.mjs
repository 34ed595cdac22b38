/** As much MQTT 3.1.1 as a bench needs, over a raw socket: a client library would cost more than what is measured. */
import { connect } from 'node:net'

const PINGREQ = Buffer.from([0xc0, 0])
const PINGRESP = 0xd0

export class Wire {
  /** Packets that have come, by the first byte's upper half. */
  counts = new Map()
  #socket
  #rest = Buffer.alloc(0)
  #waiting = []

  /** Resolves once CONNACK is there. */
  static async open(port, clientId) {
    const wire = new Wire()
    wire.#socket = connect({ port, host: '127.0.0.1', noDelay: true })
    wire.#socket.on('data', (chunk) => wire.#read(chunk))
    wire.#socket.on('error', (error) => {
      throw error
    })
    const connack = wire.packets(0x20, 1)
    wire.send(packet(0x10, text('MQTT'), Buffer.from([4, 2, 0, 0]), text(clientId)))
    await connack
    return wire
  }

  get socket() {
    return this.#socket
  }

  send(bytes) {
    return this.#socket.write(bytes)
  }

  subscribe(filter) {
    this.send(packet(0x82, Buffer.from([0, 1]), text(filter), Buffer.from([0])))
    return this.packets(0x90, 1)
  }

  unsubscribe(filter) {
    this.send(packet(0xa2, Buffer.from([0, 2]), text(filter)))
    return this.packets(0xb0, 1)
  }

  /** Answered when all that was sent before has been handled. */
  ping() {
    const answered = this.packets(PINGRESP, 1)
    this.send(PINGREQ)
    return answered
  }

  /** Resolves when `count` more packets of a type have come. */
  packets(type, count) {
    const target = (this.counts.get(type) ?? 0) + count
    return new Promise((resolve) => {
      this.#waiting.push({ type, target, resolve })
    })
  }

  close() {
    this.#socket.destroy()
  }

  #read(chunk) {
    const bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk])
    let at = 0
    for (let end = packetEnd(bytes, at); end > 0; end = packetEnd(bytes, at)) {
      const type = bytes[at] & 0xf0
      this.counts.set(type, (this.counts.get(type) ?? 0) + 1)
      at = end
    }
    this.#rest = bytes.subarray(at)
    this.#waiting = this.#waiting.filter(({ type, target, resolve }) => {
      if ((this.counts.get(type) ?? 0) < target) return true
      resolve()
      return false
    })
  }
}

export function publishBytes(topic, payload) {
  return packet(0x30, text(topic), payload)
}

/** Where the packet at `at` ends; 0 if it is not whole. */
export function packetEnd(bytes, at) {
  let length = 0
  for (let i = 1; i <= 4; i++) {
    if (at + i >= bytes.length) return 0
    const byte = bytes[at + i]
    length += (byte & 0x7f) << (7 * (i - 1))
    if (byte < 0x80) return at + i + 1 + length <= bytes.length ? at + i + 1 + length : 0
  }
  throw new Error('not MQTT')
}

export function packet(first, ...parts) {
  const body = Buffer.concat(parts)
  const head = [first]
  let left = body.length
  do {
    head.push((left & 0x7f) | (left > 0x7f ? 0x80 : 0))
    left >>= 7
  } while (left > 0)
  return Buffer.concat([Buffer.from(head), body])
}

export function text(value) {
  const bytes = Buffer.from(value)
  return Buffer.concat([Buffer.from([bytes.length >> 8, bytes.length & 0xff]), bytes])
}
