/**
 * Heart-beats (1.1 and 1.2 §Heart-beating). The client offers `cx,cy`: it can send every
 * cx ms and wants to hear something every cy ms. The server agrees: `heart-beat:cy,cx`.
 */
import { BrokerError } from '../../model/errors.ts'

export interface HeartbeatAgreement {
  /** The server sends an LF this often; 0 = never. */
  readonly sendEveryMs: number
  /** The client promised to send something this often; 0 = nothing promised. */
  readonly expectEveryMs: number
}

export const NO_HEARTBEAT: HeartbeatAgreement = { sendEveryMs: 0, expectEveryMs: 0 }

/** Shorter ones are answered with this, or a client could keep the server busy with timers. */
const MIN_INTERVAL_MS = 100
const MAX_INTERVAL_MS = 2 ** 31 - 1

/**
 * Reads the client's `heart-beat` header.
 * @throws BrokerError PROTOCOL_VIOLATED when it is not two numbers
 */
export function agreeHeartbeat(header: string | undefined): HeartbeatAgreement {
  if (header === undefined) return NO_HEARTBEAT
  const match = /^ *(\d{1,12}) *, *(\d{1,12}) *$/.exec(header)
  if (match === null) throw new BrokerError('PROTOCOL_VIOLATED', `Invalid heart-beat: ${header}`)
  return { sendEveryMs: bounded(Number(match[2])), expectEveryMs: bounded(Number(match[1])) }
}

export interface HeartbeatPeer {
  /** Grows with every byte from the client. */
  bytesReceived(): number
  /** The client's silence means nothing now, because it is not being listened to. */
  isDeaf(): boolean
  beat(): void
  /** Two intervals without a byte: one is forgiven, for slow networks. */
  silent(): void
}

/** Both directions of one connection. `stop` clears its timers. */
export class Heartbeat {
  readonly #timers: NodeJS.Timeout[] = []

  constructor(agreement: HeartbeatAgreement, peer: HeartbeatPeer) {
    const { sendEveryMs, expectEveryMs } = agreement
    if (sendEveryMs > 0) this.#every(sendEveryMs, () => peer.beat())
    if (expectEveryMs > 0) this.#every(expectEveryMs, silenceCheck(peer))
  }

  stop(): void {
    for (const timer of this.#timers.splice(0)) clearInterval(timer)
  }

  #every(ms: number, tick: () => void): void {
    this.#timers.push(setInterval(tick, ms).unref())
  }
}

function silenceCheck(peer: HeartbeatPeer): () => void {
  let heard = peer.bytesReceived()
  let isForgiven = false
  return () => {
    const now = peer.bytesReceived()
    const isAlive = now !== heard || peer.isDeaf()
    heard = now
    if (isAlive) isForgiven = false
    else if (isForgiven) peer.silent()
    else isForgiven = true
  }
}

function bounded(ms: number): number {
  return ms === 0 ? 0 : Math.min(Math.max(ms, MIN_INTERVAL_MS), MAX_INTERVAL_MS)
}
