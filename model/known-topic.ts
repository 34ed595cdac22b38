const DOLLAR = 0x24

/** A topic that is kept because its messages come again and again, with what has been found out about it. */
export class KnownTopic {
  readonly name: string
  /** It begins with `$`. Known here because to look at a name that was not looked at lately is to wait for memory. */
  readonly isDollar: boolean
  /** Where its messages went the last time. Owned by the router. */
  route: unknown

  constructor(name: string) {
    this.name = name
    this.isDollar = name.charCodeAt(0) === DOLLAR
    this.route = undefined
  }
}
