import { Deadline } from '../../model/timers.ts'
import type { Conversation } from './conversation.ts'
import { Heartbeat } from './heartbeat.ts'
import { AUTHENTICATION_TIMEOUT } from './replies.ts'

/** How long a peer may take: until it logs in, from then on for each answer to PING, and with what it logged in with. */
export class TimeLimits {
  readonly #conversation: Conversation
  readonly #idle: Deadline
  #heartbeat: Heartbeat | undefined
  #loginEnds: Deadline | undefined

  constructor(conversation: Conversation) {
    this.#conversation = conversation
    this.#idle = new Deadline(conversation.parts.options.idleTimeoutMs, () => this.#idled())
  }

  /** A whole operation has come: that is enough where nobody has to log in. */
  alive(): void {
    if (this.#conversation.parts.info.auth_required || this.#heartbeat !== undefined) return
    this.#startHeartbeat()
  }

  /** @param expiresAtMs - Unix time until which the login holds; undefined = as long as the connection */
  loggedIn(expiresAtMs: number | undefined): void {
    this.#startHeartbeat()
    if (expiresAtMs === undefined) return
    const leftMs = expiresAtMs - this.#conversation.parts.context.now()
    this.#loginEnds = new Deadline(leftMs, () => this.#conversation.end('connection_expired'))
  }

  clear(): void {
    this.#idle.clear()
    this.#heartbeat?.stop()
    this.#loginEnds?.clear()
  }

  #startHeartbeat(): void {
    this.#idle.clear()
    const { connection, replies, parts } = this.#conversation
    const { transport } = connection
    this.#heartbeat ??= new Heartbeat(parts.options.heartbeat, {
      bytesReceived: () => transport.bytesReceived,
      isDeaf: () => connection.isPaused,
      ping: () => {
        // To a peer that does not read, one more line says nothing.
        if (!transport.outbox.congested) replies.ping()
      },
      silent: () => this.#conversation.end('keepalive_timeout'),
    })
  }

  #idled(): void {
    const { parts, replies, connection } = this.#conversation
    if (parts.info.auth_required) replies.error(AUTHENTICATION_TIMEOUT)
    connection.end('idle_timeout')
  }
}
