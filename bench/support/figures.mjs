/** Figures of several rounds, and bounds that they are held against. */
const broken = []

/** Median, smallest and largest. */
export function figures(values) {
  const sorted = values.toSorted((a, b) => a - b)
  return { median: sorted[sorted.length >> 1], low: sorted[0], high: sorted.at(-1) }
}

/** Prints one line. @returns the median */
export function show(what, values, unit, digits = 2) {
  const { median, low, high } = figures(values)
  const [text, from, to] = [median, low, high].map((value) => value.toFixed(digits))
  console.log(`${text.padStart(9)} ${unit.padEnd(3)} (${from} to ${to})  ${what}`)
  return median
}

/** Says whether a bound holds; `end` tells the shell. */
export function bound(what, value, limit, unit) {
  const holds = value <= limit
  if (!holds) broken.push(what)
  console.log(`${holds ? 'holds ' : 'BROKEN'}  ${what}: ${value.toFixed(2)} ${unit}, bound ${limit} ${unit}`)
}

/** Exits with 1 if a bound is broken. */
export function end() {
  process.exit(broken.length === 0 ? 0 : 1)
}

/** Overwrites one line of a terminal; silent elsewhere. */
export function progress(what, done, of) {
  if (!process.stderr.isTTY) return
  process.stderr.write(done === of ? '\r\u001b[K' : `\r${what} ${((100 * done) / of).toFixed(0)} %`)
}
