/** Bar charts as SVG: the CPU of each broker per delivery, with the spread of the rounds. */

const WIDTH = 760
const LABEL = 120
const VALUES = 210
const BAR = 16
const GAP = 6
const TITLE = 26
const MARGIN = 16
const COLORS = ['#1f6feb', '#8b949e', '#b8c0c8', '#d0b480', '#9fbf9f', '#c99fbf']

/**
 * One group of bars for each scenario; the bars of a group share a scale.
 * @param groups - `title`, and `bars` with `label`, `low`, `median`, `high`
 */
export function drawChart(heading, groups) {
  const parts = []
  let y = MARGIN + TITLE
  for (const { title, bars } of groups) {
    parts.push(text(MARGIN, y + 14, title, 'bold'))
    y += TITLE
    const most = Math.max(...bars.map(({ high }) => high))
    for (const [i, bar] of bars.entries()) {
      parts.push(...drawBar(bar, y, most, COLORS[i % COLORS.length]))
      y += BAR + GAP
    }
    y += GAP
  }
  const height = y + MARGIN
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" viewBox="0 0 ${WIDTH} ${height}" font-family="sans-serif" font-size="12">`,
    `<title>${heading}</title>`,
    `<rect width="${WIDTH}" height="${height}" fill="#ffffff"/>`,
    text(MARGIN, MARGIN + 8, heading),
    ...parts,
    '</svg>\n',
  ].join('\n')
}

function drawBar({ label, low, median, high }, y, most, color) {
  const room = WIDTH - LABEL - VALUES - 2 * MARGIN
  const from = MARGIN + LABEL
  const x = (value) => (from + (value / most) * room).toFixed(1)
  const middle = y + BAR / 2
  return [
    text(MARGIN, y + 12, label),
    `<rect x="${from}" y="${y}" width="${(x(median) - from).toFixed(1)}" height="${BAR}" fill="${color}"/>`,
    `<path d="M${x(low)} ${middle}H${x(high)}" stroke="#24292f"/>`,
    text(from + room + 10, y + 12, `${median.toFixed(2)} us (${low.toFixed(2)} to ${high.toFixed(2)})`),
  ]
}

function text(x, y, value, weight = 'normal') {
  const safe = value.replaceAll('&', '&amp;').replaceAll('<', '&lt;')
  return `<text x="${x}" y="${y}" fill="#24292f" font-weight="${weight}">${safe}</text>`
}
