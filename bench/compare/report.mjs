/** What the comparison prints. */
import { figures } from '../support/figures.mjs'

const COLUMNS = ['', 'deliveries/s', 'CPU us each', '(spread)', 'ratio', 'p50 ms', 'p99 ms', 'RSS MB', '']
const RATIO_TO = 'Hubbub'

/** Median, low and high of each figure that was taken in every round. */
export function summarize(rounds) {
  const names = Object.keys(rounds[0] ?? {})
  const known = names.filter((name) => rounds.every((round) => Number.isFinite(round[name])))
  return Object.fromEntries(known.map((name) => [name, figures(rounds.map((round) => round[name]))]))
}

/** @param results - one for each broker: `name`, and `figures` or `failed` */
export function printScenario({ name, unit }, results) {
  const base = results.find((result) => result.name === RATIO_TO)?.figures?.cpuUs?.median
  const rows = results.map((result) => rowOf(result, base, unit))
  const head = COLUMNS.with(1, `${unit ?? 'deliveries'}/s`)
  const widths = head.map((_, i) => Math.max(...[head, ...rows].map((row) => (row[i] ?? '').length)))
  const line = (row) =>
    row.map((cell, i) => (i === 0 || i === 8 ? cell.padEnd(widths[i]) : cell.padStart(widths[i]))).join('  ')
  console.log(`\n${name}`)
  for (const row of [head, ...rows]) console.log(`  ${line(row)}`.trimEnd())
}

function rowOf({ name, figures: taken, failed }, base, unit) {
  if (taken === undefined) return [name, ...Array.from({ length: 7 }, () => ''), `failed: ${failed}`]
  const { perSecond, cpuUs, p50Ms, p99Ms, rssBytes, rssPerClient, lost } = taken
  const notes = []
  if (unit === 'connects' && rssPerClient !== undefined) {
    notes.push(`${rssPerClient.median.toFixed(0)} bytes more memory each`)
  }
  if (taken.delayMs !== undefined) notes.push(`event-loop delay ${taken.delayMs.median.toFixed(1)} ms (99 %)`)
  if (lost?.high > 0) notes.push(`${lost.high} lost`)
  if (failed !== undefined) notes.push(`failed once: ${failed}`)
  const number = (figure, digits, divisor = 1) =>
    figure === undefined ? 'n/a' : (figure.median / divisor).toFixed(digits)
  return [
    name,
    number(perSecond, 0),
    number(cpuUs, 3),
    cpuUs === undefined ? '' : `(${cpuUs.low.toFixed(3)} to ${cpuUs.high.toFixed(3)})`,
    base === undefined || cpuUs === undefined ? '' : (cpuUs.median / base).toFixed(2),
    number(p50Ms, 2),
    number(p99Ms, 2),
    number(rssBytes, 0, 1024 * 1024),
    notes.join(', '),
  ]
}

/** Overwrites one line of a terminal; silent elsewhere. */
export function status(text) {
  if (process.stderr.isTTY) process.stderr.write(`\r\u001b[K${text}`)
}
