/** An MQTT 3.1.1 client with a session that is kept, over a raw socket. It acknowledges what it gets. */
import { connect } from 'node:net'
import { packet, packetEnd, text } from './wire.mjs'

const PUBLISH = 0x30
const PUBACK = 0x40

export class PersistentWire {
  /** Messages that have come. */
  messages = 0
  onMessage = () => {}
  /** Told how many PUBACKs have come with a chunk. */
  onAcks = () => {}
  #socket
  #rest = Buffer.alloc(0)
  #waiting = new Map()

  /** Resolves once CONNACK is there; messages may come with it. */
  async open(port, clientId) {
    this.#socket = connect({ port, host: '127.0.0.1', noDelay: true })
    this.#socket.on('data', (chunk) => this.#read(chunk))
    this.#socket.on('error', (error) => {
      throw error
    })
    this.send(packet(0x10, text('MQTT'), Buffer.from([4, 0, 0, 0]), text(clientId)))
    await this.#answer(0x20)
    return this
  }

  send(bytes) {
    return this.#socket.write(bytes)
  }

  subscribe(filter) {
    this.send(packet(0x82, Buffer.from([0, 1]), text(filter), Buffer.from([1])))
    return this.#answer(0x90)
  }

  /** Goes with a goodbye; resolves when the broker has closed too. */
  leave() {
    const left = new Promise((resolve) => this.#socket.once('close', resolve))
    this.#socket.end(Buffer.from([0xe0, 0]))
    return left
  }

  #answer(type) {
    return new Promise((resolve) => this.#waiting.set(type, resolve))
  }

  #read(chunk) {
    const bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk])
    const answers = []
    let acks = 0
    let at = 0
    for (let end = packetEnd(bytes, at); end > 0; end = packetEnd(bytes, at)) {
      const type = bytes[at] & 0xf0
      if (type === PUBACK) acks++
      else if (type === PUBLISH) this.#message(bytes, at, answers)
      else this.#answered(type)
      at = end
    }
    this.#rest = bytes.subarray(at)
    if (answers.length > 0) this.send(Buffer.from(answers))
    if (acks > 0) this.onAcks(acks)
  }

  /** Short ones only: the length is one byte. */
  #message(bytes, at, answers) {
    const id = at + 4 + bytes.readUInt16BE(at + 2)
    answers.push(PUBACK, 2, bytes[id], bytes[id + 1])
    this.messages++
    this.onMessage()
  }

  #answered(type) {
    this.#waiting.get(type)?.()
    this.#waiting.delete(type)
  }
}
