/**
 * The NATS client protocol: bytes -> values, nothing else.
 *
 *     PUB <subject> [reply-to] <#payload> CRLF payload CRLF
 *     HPUB <subject> [reply-to] <#headers> <#headers + payload> CRLF headers payload CRLF
 *     SUB <subject> [queue group] <sid> CRLF        UNSUB <sid> [max] CRLF
 *     CONNECT <json> CRLF        PING CRLF        PONG CRLF
 *
 * Names in any case, arguments parted by spaces and tabs; a control line may end with a bare LF.
 * INFO, +OK and -ERR, which only a server has a reason to say, are taken and mean nothing.
 * @see NATS client protocol
 */
import { BrokerError } from '../../model/errors.ts'
import type { FrameDecoder } from '../frame-decoder.ts'
import type { Subject } from './subject.ts'
import type { SubjectCache } from './subject-cache.ts'

export type NatsOp = 'PUB' | 'HPUB' | 'SUB' | 'UNSUB' | 'CONNECT' | 'PING' | 'PONG' | 'IGNORED'

/** One operation. The decoder has a single one of these, so it holds until the next `decode`. */
export interface NatsFrame {
  readonly op: NatsOp
  /** Of PUB, HPUB, SUB. */
  readonly subject: Subject
  /** Reply subject of PUB and HPUB, queue group of SUB, text of CONNECT; '' if there is none. */
  readonly text: string
  /** Of SUB, UNSUB. */
  readonly sid: string
  /** Of UNSUB; 0 = none. */
  readonly max: number
  /** Header block `bytes[start..payload)` and payload `bytes[payload..end)` of PUB and HPUB. */
  readonly bytes: Buffer
  readonly start: number
  readonly payload: number
  readonly end: number
}

export interface FrameLimits {
  /** Longest control line, without its end. */
  maxLineBytes: number
  /** Largest payload; with headers, both together. */
  maxPayloadBytes: number
}

/** What a peer is told; see replies.ts. */
export const UNKNOWN_OPERATION = 'Unknown Protocol Operation'
export const PARSER_ERROR = 'Parser Error'
export const LINE_TOO_LONG = 'maximum control line exceeded'
export const PAYLOAD_TOO_LARGE = 'Maximum Payload Violation'
export const UNAUTHORIZED = 'Authorization Violation'

const LF = 10
const CR = 13
const SPACE = 32
const TAB = 9
const ZERO = 48
const MAX_ARGUMENTS = 5
const NOTHING = Buffer.alloc(0)
const STATUS = 'NATS/1.0'

type Writable<T> = { -readonly [K in keyof T]: T[K] }

/** Cuts operations off a stream and gives up as soon as a limit is passed, whole operation or not. */
export class NatsDecoder implements FrameDecoder<NatsFrame> {
  position = 0
  wantedBytes = 0
  /** Until the peer has logged in nothing but CONNECT, PING and PONG is taken, and no payload waited for. */
  awaitsLogin = false
  readonly #limits: FrameLimits
  readonly #subjects: SubjectCache
  readonly #frame: Writable<NatsFrame>
  readonly #none: Subject
  readonly #starts = new Int32Array(MAX_ARGUMENTS + 1)
  readonly #ends = new Int32Array(MAX_ARGUMENTS + 1)
  #arguments = 0
  /** Bytes of the line under way that hold no LF, counted from `position`. */
  #scanned = 0
  /** Headers and payload still to come, -1 = a line is expected. */
  #bodyBytes = -1
  #headerBytes = 0
  #subjectEnd = 0

  constructor(limits: FrameLimits, subjects: SubjectCache) {
    this.#limits = limits
    this.#subjects = subjects
    this.#none = subjects.get(NOTHING, 0, 0)
    this.#frame = {
      op: 'IGNORED',
      subject: this.#none,
      text: '',
      sid: '',
      max: 0,
      bytes: NOTHING,
      start: 0,
      payload: 0,
      end: 0,
    }
  }

  decode(bytes: Buffer, from: number): NatsFrame | undefined {
    this.position = from
    this.wantedBytes = 0
    if (this.#bodyBytes < 0) {
      if (!this.#readPlainPub(bytes) && !this.#readLine(bytes)) return undefined
      if (this.#bodyBytes < 0) return this.#frame
    }
    return this.#readBody(bytes)
  }

  /** The payload of the frame given out last is not needed any more: it would keep a chunk alive. */
  forget(): void {
    this.#frame.bytes = NOTHING
    this.#frame.start = this.#frame.payload = this.#frame.end = 0
  }

  /**
   * `PUB <subject> <size> CRLF` in its most usual form, which is most of what comes: read in one go.
   * @returns false if this is anything else: then nothing has been done, and `#readLine` has a look
   */
  #readPlainPub(bytes: Buffer): boolean {
    const base = this.position
    if (this.#scanned > 0 || this.awaitsLogin || !startsWithPub(bytes, base)) return false
    const limit = Math.min(bytes.length, base + this.#limits.maxLineBytes)
    const start = base + 4
    const known = this.#subjects.endOfLast(bytes, start, limit, SPACE)
    const subject = known < 0 ? this.#readSubject(bytes, start, limit) : this.#subjects.last
    if (subject === undefined) return false
    let at = (known < 0 ? this.#subjectEnd : known) + 1
    let size = 0
    const firstDigit = at
    for (; at < limit; at++) {
      const digit = (bytes[at] as number) - ZERO
      if (digit < 0 || digit > 9) break
      size = size * 10 + digit
    }
    const isWhole = at > firstDigit && at + 1 < limit && bytes[at] === CR && bytes[at + 1] === LF
    if (!isWhole || size > this.#limits.maxPayloadBytes) return false
    const frame = this.#frame
    frame.op = 'PUB'
    frame.subject = subject
    frame.text = ''
    this.#bodyBytes = size
    this.#headerBytes = 0
    this.position = at + 2
    return true
  }

  /** The subject before a space, which ends at `#subjectEnd`; undefined if it is anything else. */
  #readSubject(bytes: Buffer, start: number, limit: number): Subject | undefined {
    let at = start
    let hash = 0
    for (; at < limit; at++) {
      const byte = bytes[at] as number
      if (byte <= SPACE) break
      hash = (Math.imul(hash, 31) + byte) | 0
    }
    if (at === start || at >= limit || bytes[at] !== SPACE) return undefined
    this.#subjectEnd = at
    return this.#subjects.find(bytes, start, at, hash)
  }

  /** Reads a control line into the frame. @returns false if it is not whole yet */
  #readLine(bytes: Buffer): boolean {
    const base = this.position
    const { length } = bytes
    let at = base + this.#scanned
    while (at < length && bytes[at] !== LF) at++
    const end = at > base && at < length && bytes[at - 1] === CR ? at - 1 : at
    if (at > base && !isFirstByte(bytes[base] as number)) this.#refuseUnknown()
    // A CR at the end may belong to the line's end, so it does not count yet.
    if (end - base > this.#limits.maxLineBytes + (at < length ? 0 : 1)) {
      throw new BrokerError('FRAME_TOO_LARGE', LINE_TOO_LONG)
    }
    if (at === length) {
      this.#scanned = at - base
      return false
    }
    this.#scanned = 0
    this.position = at + 1
    this.#parseLine(bytes, base, end)
    return true
  }

  #parseLine(bytes: Buffer, start: number, end: number): void {
    let nameEnd = start
    while (nameEnd < end && !isBlank(bytes[nameEnd] as number)) nameEnd++
    const op = operationOf(bytes, start, nameEnd)
    if (op === undefined) this.#refuseUnknown()
    this.#frame.op = op
    if (op === 'PUB' || op === 'HPUB') {
      this.#refuseBeforeLogin()
      this.#split(bytes, nameEnd, end)
      this.#parsePublish(bytes, op === 'HPUB' ? 2 : 1)
    } else if (op === 'SUB' || op === 'UNSUB') {
      this.#refuseBeforeLogin()
      this.#split(bytes, nameEnd, end)
      if (op === 'SUB') this.#parseSub(bytes)
      else this.#parseUnsub(bytes)
    } else if (op === 'CONNECT') {
      this.#frame.text = bytes.toString('utf8', nameEnd, end)
    } else if (op === 'IGNORED') {
      this.#refuseBeforeLogin()
    }
  }

  /** @throws always */
  #refuseUnknown(): never {
    this.#refuseBeforeLogin()
    throw malformed(UNKNOWN_OPERATION)
  }

  #refuseBeforeLogin(): void {
    if (this.awaitsLogin) throw new BrokerError('PROTOCOL_VIOLATED', UNAUTHORIZED)
  }

  #split(bytes: Buffer, from: number, end: number): void {
    let count = 0
    let at = from
    while (at < end) {
      while (at < end && isBlank(bytes[at] as number)) at++
      if (at === end) break
      if (count === MAX_ARGUMENTS) throw malformed(PARSER_ERROR)
      this.#starts[count] = at
      while (at < end && !isBlank(bytes[at] as number)) at++
      this.#ends[count++] = at
    }
    if (count === 0) throw malformed(UNKNOWN_OPERATION)
    this.#arguments = count
  }

  /** @param sizes - how many numbers stand at the end: one for PUB, two for HPUB */
  #parsePublish(bytes: Buffer, sizes: 1 | 2): void {
    const count = this.#arguments
    if (count !== sizes + 1 && count !== sizes + 2) throw malformed(PARSER_ERROR)
    const total = this.#number(bytes, count - 1)
    const headers = sizes === 2 ? this.#number(bytes, count - 2) : 0
    if (headers > total) throw malformed(PARSER_ERROR)
    if (total > this.#limits.maxPayloadBytes) throw new BrokerError('FRAME_TOO_LARGE', PAYLOAD_TOO_LARGE)
    this.#frame.subject = this.#subjects.get(bytes, this.#starts[0] as number, this.#ends[0] as number)
    this.#frame.text = count === sizes + 2 ? this.#textOf(bytes, 1) : ''
    this.#bodyBytes = total
    this.#headerBytes = headers
  }

  #parseSub(bytes: Buffer): void {
    const count = this.#arguments
    if (count !== 2 && count !== 3) throw malformed(PARSER_ERROR)
    const frame = this.#frame
    frame.subject = this.#subjects.get(bytes, this.#starts[0] as number, this.#ends[0] as number)
    frame.text = count === 3 ? this.#textOf(bytes, 1) : ''
    frame.sid = this.#textOf(bytes, count - 1)
  }

  #parseUnsub(bytes: Buffer): void {
    const count = this.#arguments
    if (count !== 1 && count !== 2) throw malformed(PARSER_ERROR)
    this.#frame.sid = this.#textOf(bytes, 0)
    this.#frame.max = count === 2 ? this.#number(bytes, 1) : 0
  }

  #readBody(bytes: Buffer): NatsFrame | undefined {
    const start = this.position
    const end = start + this.#bodyBytes
    if (end < bytes.length && bytes[end] !== CR) throw malformed(UNKNOWN_OPERATION)
    if (end + 2 > bytes.length) {
      this.wantedBytes = this.#bodyBytes + 2
      return undefined
    }
    if (bytes[end + 1] !== LF) throw malformed(UNKNOWN_OPERATION)
    const frame = this.#frame
    frame.bytes = bytes
    frame.start = start
    frame.payload = start + this.#headerBytes
    frame.end = end
    if (frame.op === 'HPUB' && !isHeaderBlock(bytes, start, frame.payload)) throw malformed(PARSER_ERROR)
    this.position = end + 2
    this.#bodyBytes = -1
    return frame
  }

  #textOf(bytes: Buffer, index: number): string {
    return bytes.toString('utf8', this.#starts[index] as number, this.#ends[index] as number)
  }

  #number(bytes: Buffer, index: number): number {
    const end = this.#ends[index] as number
    let at = this.#starts[index] as number
    if (end - at > 10) throw malformed(PARSER_ERROR)
    let value = 0
    for (; at < end; at++) {
      const digit = (bytes[at] as number) - ZERO
      if (digit < 0 || digit > 9) throw malformed(PARSER_ERROR)
      value = value * 10 + digit
    }
    return value
  }
}

const NAMES: ReadonlyMap<string, NatsOp> = new Map<string, NatsOp>([
  ['pub', 'PUB'],
  ['hpub', 'HPUB'],
  ['sub', 'SUB'],
  ['unsub', 'UNSUB'],
  ['connect', 'CONNECT'],
  ['ping', 'PING'],
  ['pong', 'PONG'],
  ['info', 'IGNORED'],
  ['+ok', 'IGNORED'],
  ['-err', 'IGNORED'],
])
const FIRST_BYTES: ReadonlySet<number> = new Set([...NAMES.keys()].map((name) => name.charCodeAt(0)))

/** In capitals, and one space behind it. */
function startsWithPub(bytes: Buffer, at: number): boolean {
  return bytes[at] === 0x50 && bytes[at + 1] === 0x55 && bytes[at + 2] === 0x42 && bytes[at + 3] === SPACE
}

function operationOf(bytes: Buffer, start: number, end: number): NatsOp | undefined {
  return end - start > 7 ? undefined : NAMES.get(bytes.toString('latin1', start, end).toLowerCase())
}

function isFirstByte(byte: number): boolean {
  return FIRST_BYTES.has(byte) || FIRST_BYTES.has(lower(byte))
}

function lower(byte: number): number {
  return byte | 32
}

function isBlank(byte: number): boolean {
  return byte === SPACE || byte === TAB
}

/** `NATS/1.0 ... CRLF CRLF`. */
function isHeaderBlock(bytes: Buffer, start: number, end: number): boolean {
  if (end - start < STATUS.length + 4) return false
  for (let i = 0; i < STATUS.length; i++) if (bytes[start + i] !== STATUS.charCodeAt(i)) return false
  const next = bytes[start + STATUS.length]
  if (next !== SPACE && next !== CR) return false
  return bytes[end - 4] === CR && bytes[end - 3] === LF && bytes[end - 2] === CR && bytes[end - 1] === LF
}

function malformed(what: string): BrokerError {
  return new BrokerError('FRAME_MALFORMED', what)
}
