/** `$exclusive/<topic>`: a subscription that one client at a time can have. Others subscribe to the topic itself as ever. */
import { hasWildcard } from '../../model/topic.ts'
import type { Session } from '../session.ts'

const PREFIX = '$exclusive/'

/** @returns the topic inside `$exclusive/`, which may be no valid one; undefined if `filter` is another kind */
export function exclusiveTopic(filter: string): string | undefined {
  return filter.startsWith(PREFIX) ? filter.slice(PREFIX.length) : undefined
}

/** Two filters with wildcards may overlap, so only a single topic can be had exclusively. */
export function isValidExclusive(topic: string): boolean {
  return topic !== '' && !hasWildcard(topic) && !topic.startsWith('$share/') && !topic.startsWith('$queue/')
}

/** Who holds which topic, mountpoint included. Each entry is a subscription, so what bounds those bounds it too. */
export class ExclusiveTopics {
  readonly #holders = new Map<string, Session>()

  get size(): number {
    return this.#holders.size
  }

  /** @returns false if another session holds it */
  take(topic: string, session: Session): boolean {
    const holder = this.#holders.get(topic)
    if (holder === undefined) this.#holders.set(topic, session)
    return holder === undefined || holder === session
  }

  free(topic: string, session: Session): void {
    if (this.#holders.get(topic) === session) this.#holders.delete(topic)
  }
}
