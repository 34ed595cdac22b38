import { BrokerError } from './errors.ts'

export interface CsvRow {
  /** Of its first character, from 1. */
  readonly line: number
  readonly fields: readonly string[]
}

/**
 * Comma separated values (RFC 4180): a field that begins with a double quote ends at the
 * next single one and may hold commas, line ends and doubled quotes. Empty lines are left out.
 * @throws BrokerError CONFIG_INVALID for a quote that is not closed, or closed in mid-field
 */
export function parseCsv(text: string): CsvRow[] {
  const rows: CsvRow[] = []
  let at = text.startsWith('\uFEFF') ? 1 : 0
  let line = 1
  let rowLine = 1
  let fields: string[] = []

  while (at < text.length) {
    let field: string
    if (text[at] === '"') {
      ;[field, at] = quotedField(text, at + 1, line)
      line += countLineEnds(field)
    } else {
      const end = endOfPlain(text, at)
      field = text.slice(at, end)
      at = end
    }
    fields.push(field)
    if (text[at] === ',') {
      at++
      if (at < text.length) continue
      fields.push('')
    }
    if (text[at] === '\r') at++
    if (text[at] === '\n') at++
    if (fields.length > 1 || fields[0] !== '') rows.push({ line: rowLine, fields })
    line++
    rowLine = line
    fields = []
  }
  return rows
}

/** @returns the unquoted text and where it went on */
function quotedField(text: string, start: number, line: number): [field: string, next: number] {
  let field = ''
  let from = start
  for (;;) {
    const quote = text.indexOf('"', from)
    if (quote < 0) throw new BrokerError('CONFIG_INVALID', `line ${line}: a quote is not closed`)
    field += text.slice(from, quote)
    const after = text[quote + 1]
    if (after === '"') {
      field += '"'
      from = quote + 2
      continue
    }
    if (after === undefined || after === ',' || after === '\n' || after === '\r') return [field, quote + 1]
    throw new BrokerError('CONFIG_INVALID', `line ${line}: expected a comma after the closing quote`)
  }
}

function endOfPlain(text: string, from: number): number {
  let at = from
  while (at < text.length && text[at] !== ',' && text[at] !== '\n' && text[at] !== '\r') at++
  return at
}

function countLineEnds(text: string): number {
  return text.split('\n').length - 1
}
