/** What the comparison prints. */
import { figures } from '../support/figures.mjs'

const COLUMNS = ['', 'deliveries/s', 'CPU us each', 'ratio', 'p50 ms', 'p99 ms', 'RSS MB', '']
const NOTES = COLUMNS.length - 1
const RATIO_TO = 'Hubbub'
const MEGA = 1024 * 1024

/** Median, low and high of each figure that was taken in every round. */
export function summarize(rounds) {
  const names = Object.keys(rounds[0] ?? {})
  const known = names.filter((name) => rounds.every((round) => Number.isFinite(round[name])))
  return Object.fromEntries(known.map((name) => [name, figures(rounds.map((round) => round[name]))]))
}

/** @param results - one for each broker: `name`, `rounds`, and `figures` or `failed` */
export function printScenario({ name, unit }, results) {
  const base = results.find((result) => result.name === RATIO_TO)?.figures?.cpuUs?.median
  const rows = results.flatMap((result) => rowsOf(result, base, unit))
  const head = COLUMNS.with(1, `${unit ?? 'deliveries'}/s`)
  const widths = head.map((_, i) => Math.max(...[head, ...rows].map((row) => (row[i] ?? '').length)))
  const line = (row) =>
    row
      .map((cell, i) => (i === 0 || i === NOTES ? cell.padEnd(widths[i]) : cell.padStart(widths[i])))
      .join('  ')
  console.log(`\n${name}`)
  for (const row of [head, ...rows]) console.log(`  ${line(row)}`.trimEnd())
}

/** The medians, and below them from where to where the rounds went. */
function rowsOf({ name, rounds, figures: taken, failed }, base, unit) {
  if (taken === undefined)
    return [[name, ...Array.from({ length: NOTES - 1 }, () => ''), `failed: ${failed}`]]
  const { perSecond, cpuUs, p50Ms, p99Ms, rssBytes, rssPerClient, lost } = taken
  const notes = []
  if (unit === 'connects' && rssPerClient !== undefined) {
    notes.push(`${rssPerClient.median.toFixed(0)} bytes more memory each`)
  }
  if (taken.delayMs !== undefined) notes.push(`event-loop delay ${taken.delayMs.median.toFixed(1)} ms (99 %)`)
  if (lost?.high > 0) notes.push(`${lost.high} lost`)
  if (failed !== undefined) notes.push(`failed once: ${failed}`)
  const ratio = base === undefined || cpuUs === undefined ? undefined : scaled(cpuUs, base)
  const columns = [
    [perSecond, 0, 1],
    [cpuUs, 3, 1],
    [ratio, 2, 1],
    [p50Ms, 2, 1],
    [p99Ms, 2, 1],
    [rssBytes, 0, MEGA],
  ]
  const medians = columns.map(([figure, digits, unitSize]) =>
    figure === undefined ? 'n/a' : (figure.median / unitSize).toFixed(digits),
  )
  const spreads = columns.map(([figure, digits, unitSize]) =>
    figure === undefined
      ? ''
      : `${(figure.low / unitSize).toFixed(digits)}-${(figure.high / unitSize).toFixed(digits)}`,
  )
  const row = [name, ...medians, notes.join(', ')]
  return rounds.length > 1 ? [row, ['', ...spreads, '']] : [row]
}

function scaled({ median, low, high }, by) {
  return { median: median / by, low: low / by, high: high / by }
}

/** Overwrites one line of a terminal; silent elsewhere. */
export function status(text) {
  if (process.stderr.isTTY) process.stderr.write(`\r\u001b[K${text}`)
}
