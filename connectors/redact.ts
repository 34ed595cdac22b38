/** Shorter values are only found as words of their own, or a password "a" would eat every text. */
const MIN_LENGTH_INSIDE_WORDS = 4

/** `text` without these values: what drivers and servers say may quote what they were given. */
export function redact(text: string, secrets: Iterable<string | undefined>): string {
  const longestFirst = [...secrets]
    .filter((secret): secret is string => secret !== undefined && secret !== '')
    .sort((a, b) => b.length - a.length)
  return longestFirst.reduce((rest, secret) => {
    if (!rest.includes(secret)) return rest
    if (secret.length >= MIN_LENGTH_INSIDE_WORDS) return rest.replaceAll(secret, '***')
    const escaped = secret.replaceAll(/[\\^$.*+?()[\]{}|]/g, '\\$&')
    return rest.replaceAll(new RegExp(`(?<!\\w)${escaped}(?!\\w)`, 'g'), '***')
  }, text)
}
