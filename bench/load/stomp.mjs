/** STOMP 1.2 for the load generator. Time stamps are digits, since a body without content-length ends at the first NUL. */
const NUL = 0
const STAMP_DIGITS = 16

export function stomp() {
  return {
    connect: () => Buffer.from('CONNECT\naccept-version:1.2\nhost:bench\nheart-beat:0,0\n\n\0'),
    subscribe: ([filter]) => Buffer.from(`SUBSCRIBE\nid:1\ndestination:${filter}\nreceipt:1\n\n\0`),
    publish(topic, payloadBytes) {
      const head = `SEND\ndestination:${topic}\ncontent-length:${payloadBytes}\n\n`
      return {
        bytes: Buffer.from(`${head}${'x'.repeat(payloadBytes)}\0`),
        idAt: 0,
        payloadAt: head.length,
        payloadBytes,
      }
    },
    stamp: (bytes, at, nowMs) => bytes.write(digitsOf(nowMs), at, 'latin1'),
    usesAcks: false,
    read,
  }
}

/** Milliseconds as so many digits. */
export function digitsOf(nowMs) {
  return nowMs.toFixed(4).padStart(STAMP_DIGITS, '0')
}

export function timeOf(bytes, at) {
  return Number(bytes.latin1Slice(at, at + STAMP_DIGITS))
}

function read(peer, bytes, from, end) {
  let at = from
  while (at < end) {
    const nul = bytes.indexOf(NUL, at)
    if (nul < 0 || nul >= end) return at
    while (bytes[at] === 0x0a) at++
    if (bytes[at] === 0x4d) {
      peer.tally.received++ // MESSAGE
      if ((peer.tally.received & 15) === 0) peer.tally.sample(timeOf(bytes, nul - peer.payloadBytes))
    } else if (bytes[at] === 0x45) {
      peer.fail(new Error(bytes.latin1Slice(at, nul))) // ERROR
    } else {
      peer.ready() // CONNECTED, RECEIPT
    }
    at = nul + 1
  }
  return at
}
