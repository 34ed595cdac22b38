/**
 * STOMP frames: bytes <-> values, nothing else.
 *
 *     COMMAND EOL *( name ":" value EOL ) EOL body NUL *EOL      EOL = LF, in 1.2 also CR LF
 *
 * The body is as long as `content-length` says, else it ends at the first NUL.
 * @see STOMP 1.0, 1.1, 1.2 §STOMP Frames, §Augmented BNF
 */
import { isUtf8 } from 'node:buffer'
import { BrokerError } from '../../model/errors.ts'
import type { FrameDecoder } from '../frame-decoder.ts'
import { escapeHeader, plainHeader, StompHeaders, type StompVersion, unescapeHeader } from './headers.ts'
import { KnownHead, type ReadHead } from './known-head.ts'

export interface StompFrame {
  readonly command: string
  readonly headers: StompHeaders
  /** A slice of the bytes it was decoded from. */
  readonly body: Buffer
}

export interface FrameLimits {
  /** Most headers in one frame. */
  maxHeaders: number
  /** Longest header in bytes, name and value without the colon, as written on the wire. */
  maxHeaderBytes: number
  maxBodyBytes: number
}

const LF = 10
const CR = 13
const COLON = 58
const NUL = 0
const MAX_COMMAND_BYTES = 32
const NO_BODY = Buffer.alloc(0)
const UNTIL_NUL = -1

/**
 * Cuts STOMP frames off a stream and gives up as soon as a limit is passed, whole frame or not.
 * Error messages are what EMQX says after `Frame error: `.
 */
export class StompDecoder implements FrameDecoder<StompFrame> {
  /** Agreed at login; it decides about escapes, CR LF and padding. Undefined before: nothing is unescaped, CR LF is fine. */
  version: StompVersion | undefined
  position = 0
  wantedBytes = 0
  readonly #limits: FrameLimits

  // The frame under way. Offsets count from `position`.
  #scanned = 0
  #lineStart = 0
  #colon = -1
  /** All bytes of the head or-ed together: below 0x80 when it is ASCII. */
  #seen = 0
  #commandEnd = -1
  /** start, colon, end of each header line so far. */
  #lines: number[] = []
  /** Read already; what is missing is the body. */
  #head: ReadHead | undefined
  readonly #known = new KnownHead()

  constructor(limits: FrameLimits) {
    this.#limits = limits
  }

  decode(bytes: Buffer, from: number): StompFrame | undefined {
    this.position = from
    this.wantedBytes = 0
    if (this.#head === undefined) {
      if (this.#scanned === 0 && !this.#skipEols(bytes)) return undefined
      if (!this.#findHead(bytes) && !this.#scanHead(bytes)) return undefined
    }
    return this.#takeBody(bytes)
  }

  /** EOLs between frames: heart-beats, or what a client likes to put behind its NUL. */
  #skipEols(bytes: Buffer): boolean {
    let at = this.position
    while (bytes[at] === LF || (bytes[at] === CR && bytes[at + 1] === LF)) at += bytes[at] === LF ? 1 : 2
    this.position = at
    return at < bytes.length && !(bytes[at] === CR && at + 1 === bytes.length)
  }

  /** True when it is the one that came last. */
  #findHead(bytes: Buffer): boolean {
    if (this.#scanned > 0) return false
    this.#head = this.#known.find(bytes, this.position)
    if (this.#head === undefined) return false
    this.position += this.#known.length
    return true
  }

  #scanHead(bytes: Buffer): boolean {
    const base = this.position
    const { length } = bytes
    let seen = this.#seen
    for (let at = base + this.#scanned; at < length; at++) {
      const byte = bytes[at] as number
      seen |= byte
      if (byte === COLON) {
        if (this.#colon < 0) this.#colon = at - base
      } else if (byte === LF) {
        this.#seen = seen
        if (this.#endLine(bytes, base, at - base)) return true
      } else if (byte === NUL) {
        throw malformed('linefeed_expected')
      }
    }
    this.#seen = seen
    this.#scanned = length - base
    this.#checkLine(this.#scanned, 1)
    return false
  }

  /** True when this was the empty line that ends the head. */
  #endLine(bytes: Buffer, base: number, lineFeed: number): boolean {
    const crlf = this.version === undefined || this.version === '1.2'
    const start = this.#lineStart
    const end = crlf && lineFeed > start && bytes[base + lineFeed - 1] === CR ? lineFeed - 1 : lineFeed
    if (this.#commandEnd >= 0 && end === start) {
      this.#endHead(bytes, base, lineFeed + 1)
      return true
    }
    this.#checkLine(end, 0)
    if (this.#commandEnd < 0) {
      this.#commandEnd = end
    } else {
      if (this.#colon < 0) throw malformed('unexpected_linefeed')
      if (this.#colon === start) throw malformed('empty_header_name')
      this.#lines.push(start, this.#colon, end)
    }
    this.#lineStart = lineFeed + 1
    this.#colon = -1
    return false
  }

  /** Limits of the line from `#lineStart` to `end`, as far as it is known. `slack` allows for a CR still to be taken off. */
  #checkLine(end: number, slack: 0 | 1): void {
    const bytes = end - this.#lineStart
    if (this.#commandEnd < 0) {
      if (bytes > MAX_COMMAND_BYTES) throw malformed('command_too_long')
      return
    }
    if (bytes <= slack) return
    const { maxHeaders, maxHeaderBytes } = this.#limits
    const count = this.#lines.length / 3 + 1
    if (count > maxHeaders)
      throw tooLarge('too_many_headers', 'max_header_num', maxHeaders, 'received_headers_num', count)
    const found = bytes - 1 - slack
    if (found > maxHeaderBytes) {
      throw tooLarge('too_long_header', 'max_header_length', maxHeaderBytes, 'found_header_length', found)
    }
  }

  #endHead(bytes: Buffer, base: number, headBytes: number): void {
    const ascii = this.#seen < 0x80
    if (!ascii && !isUtf8(bytes.subarray(base, base + headBytes))) throw malformed('invalid_utf8')
    const head = bytes.toString(ascii ? 'latin1' : 'utf8', base, base + headBytes)
    const text = ascii
      ? (start: number, end: number) => head.slice(start, end)
      : (start: number, end: number) => bytes.toString('utf8', base + start, base + end)
    const command = text(0, this.#commandEnd)
    const headers = this.#readHeaders(text, command, head.includes('\\'))
    this.#head = { command, headers, bodyBytes: this.#announcedBody(headers) }
    // Only of these do many come, and before the version is agreed the same bytes may mean something else.
    if (command === 'SEND' && this.version !== undefined)
      this.#known.keep(bytes, base, base + headBytes, this.#head)
    this.position = base + headBytes
    this.#scanned = 0
    this.#lineStart = 0
    this.#colon = -1
    this.#seen = 0
    this.#commandEnd = -1
    this.#lines = []
  }

  #readHeaders(
    text: (start: number, end: number) => string,
    command: string,
    escapes: boolean,
  ): StompHeaders {
    const lines = this.#lines
    const { version } = this
    const flat: string[] = []
    const unescaping = escapes && version !== undefined && version !== '1.0' && !isConnect(command)
    for (let i = 0; i < lines.length; i += 3) {
      const colon = lines[i + 1] as number
      const name = text(lines[i] as number, colon)
      const value = text(colon + 1, lines[i + 2] as number)
      if (unescaping) flat.push(unescapeHeader(name, version), unescapeHeader(value, version))
      else flat.push(name, value)
    }
    const headers = new StompHeaders(flat)
    return version === '1.0' ? headers.unpadded() : headers
  }

  /** Tested before any of it has come: an announced length must not cost memory. */
  #announcedBody(headers: StompHeaders): number {
    const text = headers.get('content-length')
    if (text === undefined) return UNTIL_NUL
    if (!/^ *\d{1,15} *$/.test(text)) throw malformed('bad_content_length')
    const length = Number(text)
    if (length > this.#limits.maxBodyBytes) throw this.#bodyTooLong(length)
    return length
  }

  #takeBody(bytes: Buffer): StompFrame | undefined {
    const { command, headers, bodyBytes } = this.#head as ReadHead
    const start = this.position
    const end = bodyBytes === UNTIL_NUL ? this.#findNul(bytes) : start + bodyBytes
    if (end < 0 || end >= bytes.length) {
      if (bodyBytes !== UNTIL_NUL) this.wantedBytes = bodyBytes + 1
      return undefined
    }
    if (bytes[end] !== NUL) throw malformed('nul_expected')
    this.position = end + 1
    this.#scanned = 0
    this.#head = undefined
    return { command, headers, body: end === start ? NO_BODY : bytes.subarray(start, end) }
  }

  #findNul(bytes: Buffer): number {
    const start = this.position
    const at = bytes[start] === NUL ? start : bytes.indexOf(NUL, start + this.#scanned)
    const known = (at < 0 ? bytes.length : at) - start
    if (known > this.#limits.maxBodyBytes) throw this.#bodyTooLong(known)
    this.#scanned = known
    return at
  }

  #bodyTooLong(found: number): BrokerError {
    return tooLarge(
      'too_long_body',
      'max_body_length',
      this.#limits.maxBodyBytes,
      'received_body_length',
      found,
    )
  }
}

/** Where frames are written: the outbox of a transport, or a double of it. */
export interface FrameSink {
  readonly buffer: Buffer
  reserve(size: number): number
  append(bytes: Uint8Array): void
}

/** Everything before the body, without the empty line: command and headers, escaped for `version`. */
export function frameHead(
  command: string,
  headers: readonly (readonly [name: string, value: string])[],
  version: StompVersion | undefined,
): string {
  const plain = version === undefined || isConnect(command)
  let head = command
  for (const [name, value] of headers) {
    head += plain
      ? `\n${plainHeader(name)}:${plainHeader(value)}`
      : `\n${escapeHeader(name, version, 'name')}:${escapeHeader(value, version)}`
  }
  return head
}

/** Writes a frame; `content-length` is added when there is a body, as in EMQX, and never for an empty one. */
export function writeFrame(sink: FrameSink, head: string, body: Uint8Array = NO_BODY): void {
  const text = body.length === 0 ? `${head}\n\n` : `${head}\ncontent-length:${body.length}\n\n`
  const headBytes = Buffer.byteLength(text)
  const at = sink.reserve(headBytes + body.length + 1)
  const { buffer } = sink
  buffer.write(text, at)
  buffer.set(body, at + headBytes)
  buffer[at + headBytes + body.length] = NUL
}

/** One frame as bytes of its own. */
export function encodeFrame(
  command: string,
  headers: readonly (readonly [name: string, value: string])[] = [],
  body: string | Uint8Array = '',
  version: StompVersion = '1.2',
): Buffer {
  const bytes = typeof body === 'string' ? Buffer.from(body) : body
  const length: readonly (readonly [string, string])[] =
    bytes.length === 0 ? [] : [['content-length', String(bytes.length)]]
  const head = frameHead(command, [...headers, ...length], version)
  return Buffer.concat([Buffer.from(`${head}\n\n`), bytes, END])
}

/** Ends a frame. */
const END = Buffer.from([NUL])

function isConnect(command: string): boolean {
  return command === 'CONNECT' || command === 'STOMP' || command === 'CONNECTED'
}

function malformed(what: string): BrokerError {
  return new BrokerError('FRAME_MALFORMED', what)
}

/** Written as EMQX writes it, for scripts that look for it. */
function tooLarge(
  what: string,
  limitName: string,
  limit: number,
  foundName: string,
  found: number,
): BrokerError {
  return new BrokerError('FRAME_TOO_LARGE', `{${what},#{${limitName} => ${limit},${foundName} => ${found}}}`)
}
