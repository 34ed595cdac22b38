/** MQTT 3.1.1 and 5.0 for the load generator: packets are encoded before the load starts, and read without making objects. */
import { packet, text } from '../support/wire.mjs'

const [CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK] = [2, 3, 4, 5, 6, 7, 9]
const NO_PROPERTIES = Buffer.from([0])
const NOTHING = Buffer.alloc(0)
const RECEIVE_MAXIMUM = 0x21
/** Bytes of the CONNACK properties of fixed size; the others are strings or binary. */
const FIXED = new Map([
  [0x11, 4],
  [0x13, 2],
  [0x21, 2],
  [0x22, 2],
  [0x24, 1],
  [0x25, 1],
  [0x27, 4],
  [0x28, 1],
  [0x29, 1],
  [0x2a, 1],
])
const USER_PROPERTY = 0x26

/** @param version - 4 or 5 */
export function mqtt({ version, qos }) {
  const isV5 = version === 5
  const properties = isV5 ? NO_PROPERTIES : NOTHING
  return {
    connect: (id) => packet(0x10, text('MQTT'), Buffer.from([version, 2, 0, 0]), properties, text(id)),
    subscribe(filters) {
      const wanted = filters.flatMap((filter) => [text(filter), Buffer.from([qos])])
      return packet(0x82, Buffer.from([0, 1]), properties, ...wanted)
    },
    unsubscribe: (filters) => packet(0xa2, Buffer.from([0, 2]), properties, ...filters.map(text)),
    /** A PUBLISH, where its packet id is to be written (0: it has none), and where its payload begins. */
    publish(topic, payloadBytes, retain = false) {
      const id = qos > 0 ? Buffer.alloc(2) : NOTHING
      const payload = Buffer.alloc(payloadBytes, 'x')
      const bytes = packet(0x30 | (qos << 1) | Number(retain), text(topic), id, properties, payload)
      const payloadAt = bytes.length - payloadBytes
      return { bytes, idAt: qos > 0 ? payloadAt - properties.length - 2 : 0, payloadAt }
    },
    /** Seconds would do, but what comes back must be the same number. */
    stamp: (bytes, at, nowMs) => bytes.writeDoubleLE(nowMs, at),
    usesAcks: qos > 0,
    read: (peer, bytes, at, end) => read(peer, bytes, at, end, isV5),
  }
}

/** Reads whole packets. @returns where the first one begins that is not whole */
function read(peer, bytes, from, end, isV5) {
  let at = from
  while (at + 2 <= end) {
    let length = bytes[at + 1]
    let body = at + 2
    if (length > 127) {
      length &= 127
      for (let shift = 7; ; shift += 7) {
        if (body >= end) return at
        const byte = bytes[body++]
        length += (byte & 127) << shift
        if (byte < 128) break
      }
    }
    const next = body + length
    if (next > end) return at
    handle(peer, bytes, at, body, isV5)
    at = next
  }
  return at
}

function handle(peer, bytes, at, body, isV5) {
  const first = bytes[at]
  switch (first >> 4) {
    case PUBLISH: {
      const qos = (first >> 1) & 3
      let payload = body + 2 + ((bytes[body] << 8) | bytes[body + 1])
      if (qos > 0) {
        peer.answer(qos === 1 ? 0x40 : 0x50, bytes[payload], bytes[payload + 1])
        payload += 2
      }
      if (isV5) payload += 1 + bytes[payload]
      peer.tally.received++
      if ((peer.tally.received & 15) === 0) peer.tally.sample(bytes.readDoubleLE(payload))
      return
    }
    case PUBACK:
    case PUBCOMP:
      peer.unacked--
      return
    case PUBREC:
      peer.answer(0x62, bytes[body], bytes[body + 1])
      return
    case PUBREL:
      peer.answer(0x70, bytes[body], bytes[body + 1])
      return
    case CONNACK:
      if (bytes[body + 1] !== 0) peer.fail(new Error(`refused with ${bytes[body + 1]}`))
      if (isV5) peer.maxUnacked = Math.min(peer.maxUnacked, receiveMaximumOf(bytes, body + 2))
      peer.ready()
      return
    case SUBACK:
      peer.ready()
  }
}

function receiveMaximumOf(bytes, at) {
  const end = at + 1 + bytes[at]
  for (let i = at + 1; i < end; ) {
    const id = bytes[i]
    if (id === RECEIVE_MAXIMUM) return bytes.readUInt16BE(i + 1)
    if (id === USER_PROPERTY) i += 2 + bytes.readUInt16BE(i + 1)
    i += 1 + (FIXED.get(id) ?? 2 + bytes.readUInt16BE(i + 1))
  }
  return 65_535
}
