import { RE2JS } from 're2js'
import { BrokerError, messageOf } from './errors.ts'

/**
 * A regular expression of an operator, for texts of peers. Matching takes time linear in the length of the
 * text, whatever the expression: Node's own takes minutes for an ordinary `.*x$` on a long client id.
 * Syntax is RE2's, Perl's without look-around and back-references. Not anchored: it may match anywhere.
 */
export class Pattern {
  readonly source: string
  readonly #compiled: RE2JS

  /** @throws BrokerError CONFIG_INVALID, with what is wrong with `source` */
  constructor(source: string) {
    this.source = source
    try {
      this.#compiled = RE2JS.compile(source)
    } catch (error) {
      const why = messageOf(error).replace('error parsing regexp: ', '')
      throw new BrokerError('CONFIG_INVALID', `not a regular expression (RE2 syntax): ${why}`, {
        cause: error,
      })
    }
  }

  /** Number of groups that capture. */
  get groupCount(): number {
    return this.#compiled.groupCount()
  }

  test(text: string): boolean {
    return this.#compiled.matcher(text).find()
  }

  /**
   * Every match replaced by `by`, taken as it is.
   * @throws RangeError if the result would have more than `maxLength` characters
   */
  replaceAll(text: string, by: string, maxLength: number): string {
    const matcher = this.#compiled.matcher(text)
    let replaced = ''
    let from = 0
    while (matcher.find()) {
      replaced += text.slice(from, matcher.start()) + by
      from = matcher.end()
      if (replaced.length > maxLength) throw new RangeError('the text is too long')
    }
    return replaced + text.slice(from)
  }

  /** @returns the match and its groups, '' for a group that took no part; undefined if there is none */
  match(text: string): string[] | undefined {
    const matcher = this.#compiled.matcher(text)
    if (!matcher.find()) return undefined
    return Array.from({ length: this.groupCount + 1 }, (_, group) => matcher.group(group) ?? '')
  }
}
