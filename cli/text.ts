const CONTROL = /\p{Cc}|[\u2028\u2029\u202a-\u202e\u2066-\u2069]/gu

/** What peers have chosen, as a terminal may be given it: control characters as `\u001b`. */
export function printable(text: string): string {
  return text.replace(CONTROL, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

/** One line of a list, its fields apart by tabs; `-` for what there is not. */
export function row(...fields: (string | number | undefined)[]): string {
  return `${fields.map((field) => (field === undefined || field === '' ? '-' : printable(String(field)))).join('\t')}\n`
}

/** Names and values, the values below each other. */
export function aligned(pairs: readonly (readonly [name: string, value: string | number])[]): string {
  const width = Math.max(0, ...pairs.map(([name]) => name.length))
  return pairs.map(([name, value]) => `${name.padEnd(width)}  ${printable(String(value))}\n`).join('')
}

/** `2026-01-31T12:00:00.000Z` */
export function moment(ms: number): string {
  return ms < 8.64e15 ? new Date(ms).toISOString() : 'infinity'
}
