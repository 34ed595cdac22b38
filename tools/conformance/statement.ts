/**
 * `server`: the broker has to do it. `both`: it holds for whoever sends or receives, the broker too; what a
 * packet must look like is among these, as a broker has to notice a client that breaks it [MQTT-4.13.1-1].
 * `client`: nothing a broker could do, though it may refuse a client that does not.
 */
export type Who = 'server' | 'client' | 'both'

/** A numbered statement of the MQTT standard (Appendix B), told in our own words. */
export interface Statement {
  /** `MQTT-3.1.2-22`, of MQTT 3.1.1 `MQTT-3.1.2-24 (3.1.1)`. */
  readonly id: string
  readonly who: Who
  readonly summary: string
  /** Why no line can fulfil it: the case it is about does not arise in this broker. */
  readonly note: string | undefined
  /** Ids of statements that say the same: what meets all of them meets this one. */
  readonly as: readonly string[]
}

/** Statements that are shown together. */
export interface Section {
  readonly title: string
  readonly statements: readonly Statement[]
}

/** Section and number of a statement, who must meet it, what it says, and what makes a tag of its own needless. */
export type Row = readonly [number: string, who: Who, summary: string, needless?: Needless]

/** `as`: numbers of statements of MQTT 5.0, with spaces between them. */
export type Needless = { readonly note: string } | { readonly as: string }

/** @param suffix - what follows the numbers in an id */
export function section(title: string, rows: readonly Row[], suffix = ''): Section {
  const statements = rows.map(([number, who, summary, needless = {}]) => ({
    id: `MQTT-${number}${suffix}`,
    who,
    summary,
    note: 'note' in needless ? needless.note : undefined,
    as: 'as' in needless ? needless.as.split(' ').map((same) => `MQTT-${same}`) : [],
  }))
  return { title, statements }
}
