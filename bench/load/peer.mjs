/** A client of the load generator: a raw socket and a few counters. */
import { dial } from './transports.mjs'

const EMPTY = Buffer.alloc(0)
const ACK_BYTES = 4
/** Unacknowledged messages of one publisher, unless the broker wants fewer. */
export const MAX_UNACKED = 500
const DIALS_AT_ONCE = 64

export class Peer {
  unacked = 0
  maxUnacked = MAX_UNACKED
  payloadBytes = 0
  tally
  socket
  #codec
  #frame
  #rest = EMPTY
  #acks = EMPTY
  #acksEnd = 0
  #packetId = 0
  #readied
  #failed
  #isClosing = false

  /** @param onTurn - called after bytes have been read, or could be written again */
  constructor(codec, tally, onTurn, onFailure) {
    this.#codec = codec
    this.tally = tally
    this.onTurn = onTurn
    this.#failed = onFailure
  }

  /** Resolves once the broker has accepted the login. */
  async open(target, id) {
    const { socket, opened, frame } = dial(target, (bytes, end) => this.#read(bytes, end))
    this.socket = socket
    this.#frame = frame
    socket.on('error', (error) => this.fail(error))
    socket.on('close', () => this.fail(new Error('closed by the broker')))
    socket.on('drain', () => this.onTurn())
    await opened
    await this.ask(this.#codec.connect(id))
  }

  /** Sends what is answered, and waits for the answer. */
  ask(bytes) {
    const answered = new Promise((resolve) => {
      this.#readied = resolve
    })
    this.send(bytes)
    return answered
  }

  subscribe(filters) {
    return this.ask(this.#codec.subscribe(filters))
  }

  ready() {
    this.#readied()
  }

  fail(error) {
    if (!this.#isClosing) this.#failed(error)
  }

  send(bytes) {
    this.socket.write(this.#frame(bytes))
  }

  /** How many messages it may send now: none while too much of what it has sent waits for the socket. */
  get room() {
    return this.socket.writableNeedDrain ? 0 : this.maxUnacked - this.unacked
  }

  /** Sends the next `count` of these packets, with packet ids and the time in them. */
  publish(packets, from, count, nowMs) {
    let size = 0
    for (let i = 0; i < count; i++) size += packets[(from + i) % packets.length].bytes.length
    const burst = Buffer.allocUnsafe(size)
    let at = 0
    for (let i = 0; i < count; i++) {
      const { bytes, idAt, payloadAt } = packets[(from + i) % packets.length]
      burst.set(bytes, at)
      this.#codec.stamp(burst, at + payloadAt, nowMs)
      if (idAt > 0) {
        this.#packetId = (this.#packetId % 65_535) + 1
        burst.writeUInt16BE(this.#packetId, at + idAt)
        this.unacked++
      }
      at += bytes.length
    }
    this.send(burst)
  }

  /** An acknowledgement; all of them leave together when what has come is read. */
  answer(first, high, low) {
    const at = this.#acksEnd
    this.#acks[at] = first
    this.#acks[at + 1] = 2
    this.#acks[at + 2] = high
    this.#acks[at + 3] = low
    this.#acksEnd += ACK_BYTES
  }

  close() {
    this.#isClosing = true
    // No FIN, no TIME_WAIT: the next round needs the ports.
    if (this.socket === undefined) return
    if (this.socket.encrypted) this.socket.destroy()
    else this.socket.resetAndDestroy()
  }

  #read(chunk, chunkEnd) {
    let [bytes, end] = [chunk, chunkEnd]
    if (this.#rest.length > 0) {
      bytes = Buffer.concat([this.#rest, chunk.subarray(0, chunkEnd)])
      end = bytes.length
    }
    // No packet is shorter than its acknowledgement.
    if (this.#codec.usesAcks && this.#acks.length < end) this.#acks = Buffer.allocUnsafe(end)
    const used = this.#codec.read(this, bytes, 0, end)
    this.#rest = used < end ? Buffer.from(bytes.subarray(used, end)) : EMPTY
    if (this.#acksEnd > 0) {
      this.send(this.#acks.subarray(0, this.#acksEnd))
      this.#acksEnd = 0
      // The socket has not taken them yet: they must stay as they are.
      if (this.socket.writableLength > 0) this.#acks = EMPTY
    }
    this.onTurn()
  }
}

/** Opens all of them, some at a time. @param login - opens one */
export async function openAll(count, login) {
  let next = 0
  const some = async () => {
    while (next < count) await login(next++)
  }
  await Promise.all(Array.from({ length: Math.min(DIALS_AT_ONCE, count) }, some))
}

/** What has come, and how long it took, of every sixteenth delivery. */
export class Tally {
  received = 0
  sent = 0
  #waits = new Float64Array(1 << 20)
  #count = 0

  sample(sentAtMs) {
    if (this.#count < this.#waits.length) this.#waits[this.#count++] = performance.now() - sentAtMs
  }

  forgetWaits() {
    this.#count = 0
  }

  /** Milliseconds that a share of the sampled deliveries took at most; undefined if there are none. */
  percentile(share) {
    if (this.#count === 0) return undefined
    const sorted = this.#waits.slice(0, this.#count).sort()
    return sorted[Math.min(this.#count - 1, Math.floor(this.#count * share))]
  }
}
