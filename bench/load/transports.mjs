/** Ways to a broker: TCP, TLS, and MQTT over WebSocket. Each calls `onBytes(buffer, end)`; the buffer is valid during the call only. */
import { connect as connectTcp } from 'node:net'
import { connect as connectTls } from 'node:tls'

const READ_BYTES = 262_144
/** One for all sockets: what is read is used up before the next read. */
const shared = Buffer.allocUnsafe(READ_BYTES)
const END_OF_HEAD = Buffer.from('\r\n\r\n')

/** @returns a socket that `send` of this module can write to, and `opened`: what must be done before the first byte */
export function dial({ transport, host, port }, onBytes) {
  if (transport === 'tls') return dialTls(host, port, onBytes)
  const take = transport === 'ws' ? webSocketReader(onBytes) : undefined
  const callback = (end, buffer) => {
    if (take === undefined) onBytes(buffer, end)
    else take(buffer, end)
    return true
  }
  const onread = { buffer: shared, callback }
  const socket = connectTcp({ host, port, noDelay: true, onread })
  const opened = once(socket, 'connect')
  if (take === undefined) return { socket, opened, frame: (bytes) => bytes }
  return { socket, opened: opened.then(() => upgrade(socket, take)), frame: webSocketFrame }
}

function dialTls(host, port, onBytes) {
  // Whose certificate it is does not matter here: it was made for this run.
  const socket = connectTls({ host, port, rejectUnauthorized: false })
  socket.setNoDelay(true)
  socket.on('data', (bytes) => onBytes(bytes, bytes.length))
  return { socket, opened: once(socket, 'secureConnect'), frame: (bytes) => bytes }
}

function once(socket, event) {
  return new Promise((resolve, reject) => {
    socket.once(event, resolve)
    socket.once('error', reject)
  })
}

function upgrade(socket, take) {
  const key = Buffer.from('hubbub load test').toString('base64')
  const head = ['GET /mqtt HTTP/1.1', 'Host: localhost', 'Upgrade: websocket', 'Connection: Upgrade']
  head.push(`Sec-WebSocket-Key: ${key}`, 'Sec-WebSocket-Version: 13', 'Sec-WebSocket-Protocol: mqtt')
  socket.write(`${head.join('\r\n')}\r\n\r\n`)
  return take.upgraded
}

/** One binary frame. A client must mask, but may choose zeros, which leave the bytes as they are. */
function webSocketFrame(bytes) {
  const { length } = bytes
  const size = length < 126 ? [0x80 | length] : [0x80 | 126, length >> 8, length & 0xff]
  if (length > 65_535) throw new Error('too long for one frame of this generator')
  return Buffer.concat([Buffer.from([0x82, ...size, 0, 0, 0, 0]), bytes])
}

/** Takes the answer to the upgrade, then frames; their payloads are moved together in the very buffer they came in. */
function webSocketReader(onBytes) {
  let isOpen = false
  let settle
  let head = Buffer.alloc(0)
  let [left, isControl] = [0, false]
  const begun = []

  const unframe = (buffer, from, end) => {
    let [at, out] = [from, 0]
    while (at < end) {
      if (left === 0) {
        begun.push(buffer[at++])
        const size = sizeOf(begun)
        if (size === undefined) continue
        isControl = (begun[0] & 0x08) !== 0
        left = size
        begun.length = 0
        continue
      }
      const some = Math.min(left, end - at)
      if (!isControl) {
        buffer.copyWithin(out, at, at + some)
        out += some
      }
      at += some
      left -= some
    }
    if (out > 0) onBytes(buffer, out)
  }
  const take = (buffer, end) => {
    if (isOpen) return unframe(buffer, 0, end)
    head = Buffer.concat([head, buffer.subarray(0, end)])
    const headEnd = head.indexOf(END_OF_HEAD)
    if (headEnd < 0) return
    isOpen = true
    const isAccepted = head.subarray(0, 12).toString() === 'HTTP/1.1 101'
    settle(isAccepted ? undefined : new Error('no upgrade to WebSocket'))
    unframe(head, headEnd + END_OF_HEAD.length, head.length)
  }
  take.upgraded = new Promise((resolve, reject) => {
    settle = (error) => (error === undefined ? resolve() : reject(error))
  })
  return take
}

/** Length of the payload of a frame of a server, undefined while its header is not whole. */
function sizeOf(header) {
  if (header.length < 2) return undefined
  const short = header[1] & 0x7f
  if (short < 126) return short
  if (short === 126) return header.length < 4 ? undefined : (header[2] << 8) | header[3]
  return header.length < 10 ? undefined : Buffer.from(header).readUInt32BE(6)
}
