/**
 * The known word a misspelt one most likely meant: the fewest insertions, deletions,
 * replacements and swaps of neighbours (optimal string alignment) away.
 * @returns undefined when none is near enough to be worth naming
 */
export function nearest(word: string, known: readonly string[]): string | undefined {
  const wanted = normalize(word)
  let best: string | undefined
  let bestDistance = Math.max(2, Math.floor(wanted.length / 3)) + 1
  for (const candidate of known) {
    const distance = editDistance(wanted, normalize(candidate))
    if (distance < bestDistance) {
      best = candidate
      bestDistance = distance
    }
  }
  // Two edits turn any two-letter word into any other.
  return bestDistance < wanted.length && best !== undefined ? best : longerForm(wanted, known)
}

/** `max_packet` for `max_packet_size`, when there is only one such word. */
function longerForm(wanted: string, known: readonly string[]): string | undefined {
  if (wanted.length < 3) return undefined
  const [only, ...others] = known.filter((candidate) => normalize(candidate).startsWith(`${wanted}_`))
  return others.length === 0 ? only : undefined
}

/** `maxConnections`, `max-connections` and `max_connections` are one word. */
function normalize(word: string): string {
  return word
    .slice(0, 64)
    .replaceAll(/([a-z])([A-Z])/g, '$1_$2')
    .replaceAll('-', '_')
    .toLowerCase()
}

function editDistance(a: string, b: string): number {
  let before: number[] = []
  let previous = Array.from({ length: b.length + 1 }, (_, j) => j)
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    for (let j = 1; j <= b.length; j++) {
      const replaced = at(previous, j - 1) + (a[i - 1] === b[j - 1] ? 0 : 1)
      let least = Math.min(replaced, at(previous, j) + 1, at(row, j - 1) + 1)
      if (a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) least = Math.min(least, at(before, j - 2) + 1)
      row.push(least)
    }
    before = previous
    previous = row
  }
  return at(previous, b.length)
}

function at(row: readonly number[], index: number): number {
  return row[index] ?? Number.POSITIVE_INFINITY
}
