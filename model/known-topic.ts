/** A topic that is kept because its messages come again and again, with what has been found out about it. */
export class KnownTopic {
  readonly name: string
  /** Where its messages went the last time. Owned by the router. */
  route: unknown

  constructor(name: string) {
    this.name = name
    this.route = undefined
  }
}
