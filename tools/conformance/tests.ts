/**
 * Where tests are in a file, told by indentation alone: every file is formatted the same way. A test begins
 * with the comment right above it and ends with the bracket that closes it.
 */
export interface TestBlock {
  /** Names of the groups it is in, then its own, as they are written. */
  readonly name: string
  /** First and last line, from 1. */
  readonly from: number
  readonly to: number
}

const OPENER = /^( *)(test|it|describe)\b[.(<]/
const COMMENT = /^ *(?:\/\/|\/\*|\*)/
const TEXT = /(['"`])((?:\\.|(?!\1)[^\\])*)\1/.source
/** `test('name'`, with `.skip` and the like. */
const PLAIN_NAME = new RegExp(`^ *(?:test|it|describe)(?:\\.\\w+)*\\(\\s*${TEXT}\\s*,`)
/** `test.each(table)('name'` */
const NAME_AFTER_TABLE = new RegExp(`\\)\\(\\s*${TEXT}\\s*,`)

/** Tests, and groups of them too, outer ones first. */
export function testsIn(text: string): TestBlock[] {
  const lines = text.split('\n')
  const open: { indent: number; name: string }[] = []
  return lines.flatMap((line, i) => {
    const [, spaces, kind] = OPENER.exec(line) ?? []
    if (spaces === undefined) return []
    while (open.length > 0 && (open.at(-1)?.indent ?? 0) >= spaces.length) open.pop()
    const last = lastLine(lines, i, spaces.length)
    const own = nameOf(lines.slice(i, last + 1).join('\n'))
    const name = [...open.map((group) => group.name), own].join(' › ')
    if (kind === 'describe') open.push({ indent: spaces.length, name: own })
    return [{ name, from: firstLine(lines, i) + 1, to: last + 1 }]
  })
}

/** The innermost block around a line. */
export function testAt(blocks: readonly TestBlock[], line: number): TestBlock | undefined {
  return blocks.findLast(({ from, to }) => from <= line && line <= to)
}

function nameOf(code: string): string {
  const found = PLAIN_NAME.exec(code) ?? NAME_AFTER_TABLE.exec(code)
  return (found?.[2] ?? '').replaceAll(/\\(.)/g, '$1')
}

function firstLine(lines: readonly string[], opener: number): number {
  let first = opener
  while (first > 0 && COMMENT.test(lines[first - 1] as string)) first--
  return first
}

function lastLine(lines: readonly string[], opener: number, indent: number): number {
  for (let i = opener + 1; i < lines.length; i++) {
    const line = lines[i] as string
    const depth = line.search(/\S/)
    if (depth < 0 || depth > indent) continue
    if (depth === indent && /[)\]}]/.test(line[depth] as string)) {
      if (line[depth] === ']' || !/^ *\}?\)+$/.test(line)) continue // the end of a table, its name follows
      return i
    }
    return i - 1
  }
  return lines.length - 1
}
