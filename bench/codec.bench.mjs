/**
 * What one PUBLISH costs the codec, in nanoseconds: `npm run build && node bench/codec.bench.mjs [filter]`.
 * Each case runs in rounds; printed are the median and the fastest and slowest round.
 */
import { decodePacket } from '../dist/broker/mqtt/decode.js'
import { decodePublish, emptyPublish } from '../dist/broker/mqtt/decode-publish.js'
import { writeAck } from '../dist/broker/mqtt/encode.js'
import { writePublish } from '../dist/broker/mqtt/encode-publish.js'
import { frameLength } from '../dist/broker/mqtt/frame.js'
import { TopicBytes } from '../dist/broker/mqtt/topic-bytes.js'
import { TopicCache } from '../dist/broker/mqtt/topic-cache.js'
import { Message } from '../dist/model/message.js'

const ROUNDS = 15
const PER_ROUND = 400_000
const TOPICS = Array.from({ length: 100 }, (_, i) => `building/7/room/${i}/temp`)
const PAYLOAD = Buffer.alloc(64, 'x')

/** As plain as an outbox can be: what is measured is the codec. */
class BenchOutbox {
  congested = false
  unsentBytes = 0
  buffer = Buffer.allocUnsafeSlow(65_536)

  reserve(size) {
    if (this.unsentBytes + size > this.buffer.length) this.unsentBytes = 0
    const at = this.unsentBytes
    this.unsentBytes += size
    return at
  }

  append() {}
}

/** Many packets one after the other, as they come in one chunk. */
function stream(version, qos, properties) {
  const outbox = new BenchOutbox()
  for (const topic of TOPICS) {
    writePublish(outbox, version, delivery(message(topic, properties), qos), topic, 0, Infinity, 0)
  }
  return outbox.buffer.subarray(0, outbox.unsentBytes)
}

function message(topic, properties) {
  return Message.of(topic, PAYLOAD, 1, false, properties, undefined, 0)
}

function delivery(of, qos) {
  return {
    message: of,
    qos,
    retain: false,
    dup: false,
    packetId: qos === 0 ? 0 : 7,
    subscriptionIds: undefined,
  }
}

function decodeCase(version, qos, properties) {
  const chunk = stream(version, qos, properties)
  const packet = emptyPublish()
  const topics = new TopicCache()
  return (count) => {
    let at = 0
    let sum = 0
    for (let i = 0; i < count; i++) {
      const length = frameLength(chunk, at, chunk.length, 1_048_576)
      decodePublish(version, chunk, at, at + length, packet, topics)
      sum += packet.payloadEnd - packet.payloadStart
      at += length
      if (at === chunk.length) at = 0
    }
    return sum
  }
}

/** Every message goes to `subscribers`; with one, nothing can be shared. */
function writeCase(version, qos, subscribers, properties, topics = new TopicBytes()) {
  const outbox = new BenchOutbox()
  const messages = TOPICS.map((topic) => message(topic, properties))
  const deliveries = messages.map((one) => delivery(one, qos))
  return (count) => {
    for (let i = 0, left = subscribers, which = 0; i < count; i++) {
      const one = messages[which]
      if (left === subscribers) one.wire = undefined
      writePublish(outbox, version, deliveries[which], one.topic, 0, Infinity, 0, topics ?? undefined)
      if (--left > 0) continue
      left = subscribers
      which = which === 99 ? 0 : which + 1
    }
    return outbox.unsentBytes
  }
}

function ackCase(version) {
  const outbox = new BenchOutbox()
  return (count) => {
    for (let i = 0; i < count; i++) writeAck(outbox, version, 4, i & 0xffff, 0)
    return outbox.unsentBytes
  }
}

function decodeAckCase() {
  const puback = Buffer.from([0x40, 2, 0, 7])
  return (count) => {
    let sum = 0
    for (let i = 0; i < count; i++) sum += decodePacket(5, puback, 0, 4).packetId
    return sum
  }
}

const USER = { contentType: 'text/plain', userProperties: [['unit', 'celsius']] }

const CASES = [
  { name: 'decodePublish v4 QoS 0', run: decodeCase(4, 0) },
  { name: 'decodePublish v5 QoS 1', run: decodeCase(5, 1) },
  { name: 'decodePublish v5 QoS 1, properties', run: decodeCase(5, 1, USER) },
  { name: 'writePublish v4 QoS 0, one subscriber', run: writeCase(4, 0, 1) },
  { name: 'writePublish v4 QoS 0, one subscriber, no TopicBytes', run: writeCase(4, 0, 1, undefined, null) },
  { name: 'writePublish v4 QoS 1, one subscriber', run: writeCase(4, 1, 1) },
  { name: 'writePublish v5 QoS 1, one subscriber', run: writeCase(5, 1, 1) },
  { name: 'writePublish v5 QoS 1, properties', run: writeCase(5, 1, 1, USER) },
  { name: 'writePublish v4 QoS 0, 2 subscribers', run: writeCase(4, 0, 2) },
  { name: 'writePublish v4 QoS 0, 10 subscribers', run: writeCase(4, 0, 10) },
  { name: 'writePublish v4 QoS 0, 1000 subscribers', run: writeCase(4, 0, 1000) },
  { name: 'writePublish v5 QoS 1, properties, 10 subscribers', run: writeCase(5, 1, 10, USER) },
  { name: 'writePublish v5 QoS 1, properties, 1000 subscribers', run: writeCase(5, 1, 1000, USER) },
  { name: 'writeAck PUBACK v5', run: ackCase(5) },
  { name: 'decodePacket PUBACK v5', run: decodeAckCase() },
]

let sink = 0
const wanted = process.argv[2] ?? ''
const results = CASES.filter(({ name }) => name.includes(wanted)).map((one) => ({ ...one, ns: [] }))
// Rounds of all cases in turn: a busy moment of the machine spreads over all of them.
for (let round = 0; round < ROUNDS + 3; round++) {
  for (const { run, ns } of results) {
    const from = process.hrtime.bigint()
    sink += run(PER_ROUND)
    if (round >= 3) ns.push(Number(process.hrtime.bigint() - from) / PER_ROUND)
  }
}
for (const { name, ns } of results) {
  ns.sort((a, b) => a - b)
  const [fastest, median, slowest] = [ns[0], ns[ROUNDS >> 1], ns[ROUNDS - 1]].map((n) =>
    n.toFixed(1).padStart(7),
  )
  console.log(`${median} ns  (${fastest} to ${slowest})  ${name}`)
}
if (sink === 0) throw new Error('nothing was done')
