/**
 * PUBLISH with QoS -1 from somebody who is not connected (§6.8). They are all the client `NegQoS-Client`, let in once per
 * address and minute: a datagram a second must not be a login a second.
 */
import type { Client, Receiver } from '../../broker/broker.ts'
import { andThen, isPromise, type MaybePromise } from '../../model/async.ts'
import { messageOf } from '../../model/errors.ts'
import { Message } from '../../model/message.ts'
import type { PublishFrame } from './frame.ts'
import { loginOf } from './login.ts'
import type { Place, Shared } from './state.ts'

const CLIENT_ID = 'NegQoS-Client'
const LOGIN_LASTS_MS = 60_000
const MAX_LOGINS = 256
/** Publishes of one address that wait for its login. */
const MAX_WAITING = 32

interface Entry {
  answer: MaybePromise<Client | undefined>
  readonly atMs: number
  waiting: number
}

export class Anonymous {
  /** The oldest first. */
  readonly #entries = new Map<string, Entry>()

  publish(topic: string, frame: PublishFrame, place: Place, shared: Shared): void {
    const entry = this.#entryOf(place, shared)
    if (entry.waiting >= MAX_WAITING) return
    entry.waiting++
    const done = andThen(entry.answer, (client): MaybePromise<unknown> => {
      entry.waiting--
      if (client === undefined) return undefined
      const { bytes, start, retain } = frame
      return client.publish(
        Message.of(
          topic,
          bytes,
          0,
          retain,
          undefined,
          client.info,
          shared.context.now(),
          start,
          bytes.length,
        ),
      )
    })
    if (isPromise(done))
      done.catch((error: unknown) =>
        shared.context.log.error({ error: messageOf(error) }, 'a publish without connection failed'),
      )
  }

  /** Lets those go whose time is over. */
  sweep(nowMs: number): void {
    for (const [key, entry] of this.#entries) {
      if (nowMs - entry.atMs < LOGIN_LASTS_MS) return
      this.#drop(key, entry)
    }
  }

  clear(): void {
    for (const [key, entry] of this.#entries) this.#drop(key, entry)
  }

  #entryOf(place: Place, shared: Shared): Entry {
    const { listenerId, peer } = place.transport
    const key = `${shared.context.keyOf(CLIENT_ID)}\0${listenerId}\0${peer.host}`
    const known = this.#entries.get(key)
    if (known !== undefined) return known
    const [oldest] = this.#entries
    if (oldest !== undefined && this.#entries.size >= MAX_LOGINS) this.#drop(...oldest)
    const entry: Entry = { answer: undefined, atMs: shared.context.now(), waiting: 0 }
    this.#entries.set(key, entry)
    entry.answer = this.#login(key, entry, place, shared)
    return entry
  }

  #login(key: string, entry: Entry, place: Place, shared: Shared): MaybePromise<Client | undefined> {
    const login = loginOf({ clientId: CLIENT_ID, seconds: 0, clean: true, key }, place, shared)
    const receiver: Receiver = {
      congested: true,
      deliver: () => false,
      release() {},
      end: () => this.#forget(key, entry),
    }
    const options = { cleanStart: true, expiryIntervalMs: 0, receiveMaximum: 1 }
    return andThen(shared.context.connect(login, options, receiver), (outcome) => {
      if (outcome.kind === 'refused') return undefined
      outcome.client.start()
      return outcome.client
    })
  }

  #drop(key: string, entry: Entry): void {
    this.#forget(key, entry)
    const closed = andThen(entry.answer, (client) => client?.close('normal'))
    if (isPromise(closed)) closed.catch(() => undefined) // said by whoever published
  }

  #forget(key: string, entry: Entry): void {
    if (this.#entries.get(key) === entry) this.#entries.delete(key)
  }
}
