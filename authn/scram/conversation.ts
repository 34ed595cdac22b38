import { timingSafeEqual } from 'node:crypto'
import type { Exchange, Principal, Verdict } from '../../model/access.ts'
import { messageOf } from '../../model/errors.ts'
import { ReasonCode } from '../../model/reason-codes.ts'
import { type Credential, isProved, serverSignature } from './credential.ts'
import { type ClientFirst, parseClientFinal, serverFinal, serverFirst } from './messages.ts'

/** Why a client is refused is the log's, not the client's to know. */
export const NOT_AUTHORIZED: Verdict = { kind: 'deny', reason: ReasonCode.NotAuthorized }

export interface Known {
  readonly credential: Credential
  /** Undefined: nobody has this name. The client is asked all the same, and no proof is good enough. */
  readonly principal: Principal | undefined
}

/** One login between the broker's message and the client's answer. */
export class ScramConversation implements Exchange {
  readonly #first: ClientFirst
  readonly #known: Known
  readonly #nonce: string
  readonly #challenge: string
  readonly #refused: (why: string) => void
  #isOver = false

  /**
   * @param serverNonce - printable, without commas, never used before
   * @param refused - told why, for the log; never with anything secret
   */
  constructor(first: ClientFirst, known: Known, serverNonce: string, refused: (why: string) => void) {
    this.#first = first
    this.#known = known
    this.#nonce = first.nonce + serverNonce
    this.#challenge = serverFirst(this.#nonce, known.credential.salt, known.credential.iterations)
    this.#refused = refused
  }

  /** server-first-message */
  get challenge(): Buffer {
    return Buffer.from(this.#challenge)
  }

  next(data: Uint8Array | undefined): Verdict {
    try {
      return this.#judge(data)
    } catch (error) {
      return this.#refuse(messageOf(error))
    } finally {
      this.#isOver = true
    }
  }

  #judge(data: Uint8Array | undefined): Verdict {
    if (this.#isOver) return this.#refuse('its exchange is over')
    const final = parseClientFinal(data)
    if (final.gs2Header !== this.#first.gs2Header) return this.#refuse('the channel binding differs')
    if (!isSame(final.nonce, this.#nonce)) return this.#refuse('the nonce is not ours')
    const { credential, principal } = this.#known
    const authMessage = `${this.#first.bare},${this.#challenge},${final.withoutProof}`
    // Computed for strangers too, so that they take as long.
    const isRight = isProved(credential, authMessage, final.proof)
    const signature = serverSignature(credential, authMessage)
    if (principal === undefined) return this.#refuse('there is no such user')
    if (!isRight) return this.#refuse('the proof is wrong')
    return { kind: 'allow', principal, data: Buffer.from(serverFinal(signature)) }
  }

  #refuse(why: string): Verdict {
    this.#refused(why)
    return NOT_AUTHORIZED
  }
}

function isSame(a: string, b: string): boolean {
  const [left, right] = [Buffer.from(a), Buffer.from(b)]
  return left.length === right.length && timingSafeEqual(left, right)
}
