/** docs/conformance.md, written from what was found. */
import type { Chapter, Conformance, Entry, Place, Shown } from './conformance.ts'

const HEAD = `# Conformance

Every numbered statement of MQTT 5.0 (its Appendix B) that a broker has to meet, and those of MQTT 3.1.1 that differ:
the files with the lines that fulfil it and the tests that show it. The summaries are ours; what counts are the words of the
[5.0](https://docs.oasis-open.org/mqtt/mqtt/v5.0/mqtt-v5.0.html) and
[3.1.1](https://docs.oasis-open.org/mqtt/mqtt/v3.1.1/mqtt-v3.1.1.html) standards.

Made by \`npm run conformance\` from the tags in sources and tests, \`[MQTT-3.1.2-24]\`; do not edit it. A tag says
where to look, not that nothing is wrong there.
`

/** The whole text. */
export function report({ chapters }: Conformance): string {
  const ours = chapters.map(({ title, entries }) => ({
    title,
    entries: entries.filter(({ who }) => who !== 'client'),
  }))
  return [
    HEAD,
    summary(ours),
    ...ours.filter(({ entries }) => entries.length > 0).map(table),
    clientTable(chapters.flatMap(({ entries }) => entries.filter(({ who }) => who === 'client'))),
  ].join('\n')
}

function summary(ours: readonly Chapter[]): string {
  const all = ours.flatMap(({ entries }) => entries)
  const isOld = ({ id }: Entry) => id.endsWith(')')
  const rows = [
    counts(
      'MQTT 5.0',
      all.filter((entry) => !isOld(entry)),
    ),
    counts('MQTT 3.1.1, where it differs', all.filter(isOld)),
  ]
  return [
    '## In short',
    '',
    '|  | for a broker | with a line | with a test | with both | do not arise |',
    '| --- | --: | --: | --: | --: | --: |',
    ...rows,
    '',
    list(
      'Without a line',
      all.filter((one) => isOpen(one) && !one.isFulfilled),
      ({ summary }) => summary,
    ),
    list(
      'That do not arise',
      all.filter((one) => !isOpen(one)),
      ({ summary, note }) => `${summary}: ${note}`,
    ),
    '### Without a test',
    '',
    ...orNone(ours.flatMap(withoutTest)),
    '',
  ].join('\n')
}

function isOpen({ note }: Entry): boolean {
  return note === undefined
}

function counts(title: string, entries: readonly Entry[]): string {
  const fulfilled = entries.filter(({ isFulfilled }) => isFulfilled)
  const numbers = [
    entries.length,
    fulfilled.length,
    entries.filter(({ isShown }) => isShown).length,
    fulfilled.filter(({ isShown }) => isShown).length,
    entries.filter((one) => !isOpen(one)).length,
  ]
  return `| ${title} | ${numbers.join(' | ')} |`
}

function list(title: string, entries: readonly Entry[], say: (entry: Entry) => string): string {
  const lines = entries.map((entry) => `- ${entry.id}: ${say(entry)}`)
  return [`### ${title}`, '', ...orNone(lines), ''].join('\n')
}

function orNone(lines: readonly string[]): readonly string[] {
  return lines.length === 0 ? ['None.'] : lines
}

function withoutTest({ title, entries }: Chapter): string[] {
  const missing = entries.filter((one) => isOpen(one) && !one.isShown)
  if (missing.length === 0) return []
  return [`- ${title}: ${missing.map(({ id }) => numberOf(id)).join(', ')}`]
}

function numberOf(id: string): string {
  return id.replace('MQTT-', '').replace(' (3.1.1)', '')
}

function table({ title, entries }: Chapter): string {
  const rows = entries.map((one) => {
    const { id, summary, note, as, fulfilledAt, shownBy } = one
    const same = as.length === 0 ? [] : [`as ${as.join(', ')}`]
    const lines = note === undefined ? [...same, ...once(fulfilledAt.map(link))] : [`does not arise: ${note}`]
    return `| ${id} | ${cell(summary)} | ${lines.join('<br>')} | ${[...same, ...once(shownBy.map(shown))].join('<br>')} |`
  })
  const head = ['| Statement | In short | Fulfilled at | Shown by |', '| --- | --- | --- | --- |']
  return [`## ${title}`, '', ...head, ...rows, ''].join('\n')
}

function clientTable(entries: readonly Entry[]): string {
  const rows = entries.map(
    ({ id, summary, fulfilledAt }) =>
      `| ${id} | ${cell(summary)} | ${once(fulfilledAt.map(link)).join('<br>')} |`,
  )
  return [
    '## For clients only',
    '',
    'Not applicable to a broker. Where it checks what one of these demands, or tells the client, the line is given.',
    '',
    '| Statement | In short | In the broker |',
    '| --- | --- | --- |',
    ...rows,
    '',
  ].join('\n')
}

/** Without the line, which every edit above it would change: a search for the tag finds it. */
function link({ file }: Place): string {
  return `[${file}](../${file})`
}

/** The name without the tags in it: which they are, the row says. */
function shown({ file, name }: Shown): string {
  const words = name.replaceAll(/\[MQTT-[^\]]*\] ?/g, '')
  return `[${file.replace(/^test\//, '')}](../${file})${words === '' ? '' : ` ${cell(words)}`}`
}

function once(texts: readonly string[]): string[] {
  return [...new Set(texts)]
}

/** As text in a table: nothing in it is to be taken for Markdown. */
function cell(text: string): string {
  return text.replaceAll(/[\\|<*_[\]$]/g, '\\$&').replaceAll('\n', ' ')
}
