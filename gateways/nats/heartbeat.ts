/** The server's PINGs. Any byte of the peer is as good as its PONG: it lives. */

export interface HeartbeatOptions {
  /** A PING this often. */
  readonly intervalMs: number
  /** How long the answer may take. */
  readonly waitMs: number
}

export interface HeartbeatPeer {
  /** Grows with every byte from the peer. */
  bytesReceived(): number
  /** Its silence means nothing now, because it is not being listened to. */
  isDeaf(): boolean
  ping(): void
  silent(): void
}

const MAX_TIMER_MS = 2 ** 31 - 1

/** `stop` clears its timers. */
export class Heartbeat {
  readonly #peer: HeartbeatPeer
  readonly #waitMs: number
  readonly #interval: NodeJS.Timeout
  #wait: NodeJS.Timeout | undefined

  constructor({ intervalMs, waitMs }: HeartbeatOptions, peer: HeartbeatPeer) {
    this.#peer = peer
    this.#waitMs = Math.min(waitMs, MAX_TIMER_MS)
    this.#interval = setInterval(() => this.#beat(), Math.min(intervalMs, MAX_TIMER_MS))
    this.#interval.unref()
  }

  stop(): void {
    clearInterval(this.#interval)
    clearTimeout(this.#wait)
  }

  #beat(): void {
    if (this.#wait !== undefined || this.#peer.isDeaf()) return
    const heard = this.#peer.bytesReceived()
    this.#peer.ping()
    this.#wait = setTimeout(() => {
      this.#wait = undefined
      if (this.#peer.bytesReceived() === heard && !this.#peer.isDeaf()) this.#peer.silent()
    }, this.#waitMs)
    this.#wait.unref()
  }
}
