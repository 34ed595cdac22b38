/** The NATS client protocol for the load generator: PUB at its fastest, which is without an answer. */
import { digitsOf, timeOf } from './stomp.mjs'

const LF = 0x0a
const SPACE = 0x20

export function nats() {
  return {
    connect: () => Buffer.from('CONNECT {"verbose":false,"pedantic":false,"headers":true}\r\nPING\r\n'),
    subscribe: ([filter]) => Buffer.from(`SUB ${subject(filter)} 1\r\nPING\r\n`),
    publish(topic, payloadBytes) {
      const head = `PUB ${subject(topic)} ${payloadBytes}\r\n`
      return { bytes: Buffer.from(`${head}${'x'.repeat(payloadBytes)}\r\n`), idAt: 0, payloadAt: head.length }
    },
    stamp: (bytes, at, nowMs) => bytes.write(digitsOf(nowMs), at, 'latin1'),
    usesAcks: false,
    read,
  }
}

function subject(topic) {
  return topic.replaceAll('/', '.')
}

function read(peer, bytes, from, end) {
  let at = from
  while (at < end) {
    const line = bytes.indexOf(LF, at)
    if (line < 0 || line >= end) return at
    let next = line + 1
    // MSG <subject> <sid> <bytes>; INFO, PONG and +OK have no body.
    if (bytes[at] === 0x4d) {
      next += sizeBefore(bytes, line - 1) + 2
      if (next > end) return at
      peer.tally.received++
      if ((peer.tally.received & 15) === 0) peer.tally.sample(timeOf(bytes, line + 1))
    } else if (bytes[at] === 0x50 && bytes[at + 1] === 0x4f) {
      peer.ready()
    } else if (bytes[at] === 0x2d) {
      peer.fail(new Error(bytes.latin1Slice(at, line)))
    }
    at = next
  }
  return at
}

function sizeBefore(bytes, end) {
  let size = 0
  for (let i = end - 1, unit = 1; bytes[i] !== SPACE; i--, unit *= 10) size += (bytes[i] - 48) * unit
  return size
}
