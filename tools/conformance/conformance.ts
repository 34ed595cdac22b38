/** Which statements of the standard the sources and tests name, and what is wrong with the names. Pure. */
import type { Section, Statement } from './statement.ts'
import { misspeltIn, tagsIn } from './tags.ts'
import { testAt, testsIn } from './tests.ts'

/** Path from the root, with `/`, and the text. */
export type Files = ReadonlyMap<string, string>

export interface Place {
  readonly file: string
  readonly line: number
}

/** `name` is '' for a tag outside all tests. */
export interface Shown extends Place {
  readonly name: string
}

/** What is known about one statement. */
export interface Entry extends Statement {
  readonly fulfilledAt: readonly Place[]
  readonly shownBy: readonly Shown[]
  /** A line of its own fulfils it, or one of each statement that says the same. */
  readonly isFulfilled: boolean
  /** Likewise of tests. */
  readonly isShown: boolean
}

export interface Chapter {
  readonly title: string
  readonly entries: readonly Entry[]
}

export interface Conformance {
  readonly chapters: readonly Chapter[]
  /** One line each: tags that name no statement, and what looks like a tag and is none. */
  readonly problems: readonly string[]
}

export function conformance(sections: readonly Section[], sources: Files, tests: Files): Conformance {
  const lines = new Map<string, Place[]>()
  for (const [file, text] of sources) {
    for (const { id, line } of tagsIn(text)) add(lines, id, { file, line })
  }
  const shown = new Map<string, Shown[]>()
  for (const [file, text] of tests) {
    const blocks = testsIn(text)
    for (const { id, line } of tagsIn(text)) addOnce(shown, id, shownAt(file, line, testAt(blocks, line)))
  }
  const chapters = sections.map(({ title, statements }) => ({
    title,
    entries: statements.map((one) => ({
      ...one,
      fulfilledAt: lines.get(one.id) ?? [],
      shownBy: shown.get(one.id) ?? [],
      isFulfilled: covers(lines, one),
      isShown: covers(shown, one),
    })),
  }))
  return { chapters, problems: problemsOf(chapters, [...sources, ...tests]) }
}

function covers(found: ReadonlyMap<string, unknown>, { id, as }: Statement): boolean {
  return found.has(id) || (as.length > 0 && as.every((same) => found.has(same)))
}

function shownAt(file: string, line: number, test: ReturnType<typeof testAt>): Shown {
  return { file, line: test?.from ?? line, name: test?.name ?? '' }
}

function add<T>(map: Map<string, T[]>, id: string, value: T): void {
  const known = map.get(id)
  if (known === undefined) map.set(id, [value])
  else known.push(value)
}

/** A test that names a statement twice shows it once. */
function addOnce(map: Map<string, Shown[]>, id: string, value: Shown): void {
  const isKnown = map.get(id)?.some(({ file, line }) => file === value.file && line === value.line)
  if (isKnown !== true) add(map, id, value)
}

function problemsOf(chapters: readonly Chapter[], files: readonly (readonly [string, string])[]): string[] {
  const entries = chapters.flatMap((chapter) => chapter.entries)
  const known = new Set(entries.map(({ id }) => id))
  const wrong = files.flatMap(([file, text]) => [
    ...tagsIn(text)
      .filter(({ id }) => !known.has(id))
      .map(({ id, line }) => `${file}:${line}: there is no statement ${id}`),
    ...misspeltIn(text).map((found) => `${file}:${found.line}: "${found.text}": ${found.hint}`),
  ])
  const dangling = entries.flatMap(({ id, as }) =>
    as
      .filter((same) => !known.has(same))
      .map((same) => `${id} is said to be as ${same}, which does not exist`),
  )
  const outdated = entries
    .filter(({ note, fulfilledAt }) => note !== undefined && fulfilledAt.length > 0)
    .map(({ id }) => `${id} is said not to arise, but a line fulfils it: drop the note in tools/conformance`)
  return [...wrong, ...dangling, ...outdated]
}
