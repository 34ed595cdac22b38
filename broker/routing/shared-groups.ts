import type { SubscriptionEntry } from './route.ts'

/**
 * The members of `$share/<name>/<filter>`: each message goes to one of them
 * (MQTT 5.0 §4.8.2), in turn, and to one with a live connection while there is one.
 */
export class SharedGroup {
  readonly name: string
  readonly filter: string
  readonly #members: SubscriptionEntry[] = []
  #next = 0

  constructor(name: string, filter: string) {
    this.name = name
    this.filter = filter
  }

  get isEmpty(): boolean {
    return this.#members.length === 0
  }

  add(member: SubscriptionEntry): void {
    this.#members.push(member)
  }

  remove(member: SubscriptionEntry): void {
    const index = this.#members.indexOf(member)
    if (index >= 0) this.#members.splice(index, 1)
  }

  /** The member whose turn it is; an offline one only when all are, for its session to queue the message. */
  pick(): SubscriptionEntry | undefined {
    const members = this.#members
    for (let tried = 0; tried < members.length; tried++) {
      if (this.#next >= members.length) this.#next = 0
      const member = members[this.#next++] as SubscriptionEntry
      if (member.session.isOnline) return member
    }
    return members[this.#next % members.length]
  }
}
