/** docs/conformance.md is what the tags in sources and tests say, and the tags name what exists. */
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { conformance } from '../tools/conformance/conformance.ts'
import { OLDER_STATEMENTS } from '../tools/conformance/older-statements.ts'
import { readProject } from '../tools/conformance/project.ts'
import { report } from '../tools/conformance/report.ts'
import { section } from '../tools/conformance/statement.ts'
import { STATEMENTS } from '../tools/conformance/statements.ts'
import { misspeltIn, tagsIn } from '../tools/conformance/tags.ts'
import { testAt, testsIn } from '../tools/conformance/tests.ts'

const ROOT = join(import.meta.dirname, '..')
const DOCUMENT = join(ROOT, 'docs', 'conformance.md')
const { sources, tests } = readProject(ROOT)
const found = conformance([...STATEMENTS, ...OLDER_STATEMENTS], sources, tests)

test('every tag names a statement and is spelt as one', () => {
  expect(sources.size).toBeGreaterThan(80)
  expect(tests.size).toBeGreaterThan(40)
  expect(found.problems).toEqual([])
})

/** `npm run conformance` runs this file with --update, which writes the document. */
test('docs/conformance.md is up to date', async () => {
  const hint = 'docs/conformance.md is out of date: run `npm run conformance`'
  await expect(report(found), hint).toMatchFileSnapshot(DOCUMENT)
})

test('the statements of MQTT 5.0 are those of its Appendix B: 251, none twice', () => {
  const ids = STATEMENTS.flatMap(({ statements }) => statements.map(({ id }) => id))
  expect(ids).toHaveLength(251)
  const all = [...ids, ...OLDER_STATEMENTS.flatMap(({ statements }) => statements.map(({ id }) => id))]
  expect(all.filter((id) => tagsIn(`[${id}]`)[0]?.id !== id)).toEqual([])
  expect(new Set(all).size).toBe(all.length)
})

describe('tags', () => {
  test('are found with their lines, several in one too', () => {
    const text = [
      '/** Never 0 [MQTT-2.2.1-3]. */',
      'f() // [MQTT-3.1.3-6], [MQTT-3.1.3-7] and more',
      '// [MQTT-3.1.3-8 (3.1.1)]',
    ]
    expect(tagsIn(text.join('\n'))).toEqual([
      { id: 'MQTT-2.2.1-3', line: 1 },
      { id: 'MQTT-3.1.3-6', line: 2 },
      { id: 'MQTT-3.1.3-7', line: 2 },
      { id: 'MQTT-3.1.3-8 (3.1.1)', line: 3 },
    ])
    expect(misspeltIn(text.join('\n'))).toEqual([])
  })

  test.each([
    ['[MQTT-3.1.2-16] to [MQTT-3.1.2-19]', 'a range'],
    ['[MQTT-3.1.2-16]-[MQTT-3.1.2-19]', 'a range'],
    ['[MQTT-3.1.2-16] … [MQTT-3.1.2-19]', 'a range'],
    ['3.1.1 [MQTT-3.1.2-22]', '(3.1.1)]'],
    ['[MQTT-3.1.2]', '[MQTT-1.2.3-4]'],
    ['[MQTT-3.1.2-16 to 19]', '[MQTT-1.2.3-4]'],
    ['[MQTT 3.1.2-16]', '[MQTT-1.2.3-4]'],
    ['[MQTT-3.1.2-16 (5.0)]', '[MQTT-1.2.3-4]'],
    ['[MQTT-3.1.2-16', '[MQTT-1.2.3-4]'],
    ['MQTT-3.1.2-16', 'in brackets'],
  ])('%s is reported', (text, hint) => {
    expect(misspeltIn(`f()\n// ${text}`)).toEqual([
      { text: expect.any(String), line: 2, hint: expect.stringContaining(hint) },
    ])
  })

  test('what only looks like one is let be', () => {
    expect(
      misspeltIn('// [MQTT-SN], [MQTT 5.0], MQTT 3.1.1, 3.1.1 (and MQTT 5), MQTT-over-WebSocket'),
    ).toEqual([])
  })
})

describe('tests in a file', () => {
  const text = `
import { test } from 'vitest'
// [MQTT-1.0.0-1] outside
test('one line', () => expect(1).toBe(1))

/** About the next. */
test('it\\'s plain', () => {
  f()
})
test.each([
  ['a', 1],
])('a table, %s', (_) => {
  f()
})
test.each(['x'] as const)(
  'a long name',
  () => {
    f()
  },
)
describe('a group', () => {
  helper()
  for (const version of [4, 5]) {
    test(\`version \${version}\`, async () => {
      f()
    })
  }
  test.skipIf(false)("the last", () => {
    f()
  })
})
test('after it', () => {})
`

  test('have their names, and begin with the comment above them', () => {
    expect(testsIn(text)).toEqual([
      { name: 'one line', from: 3, to: 5 },
      { name: "it's plain", from: 6, to: 9 },
      { name: 'a table, %s', from: 10, to: 14 },
      { name: 'a long name', from: 15, to: 20 },
      { name: 'a group', from: 21, to: 31 },
      { name: `a group › version \${version}`, from: 24, to: 26 },
      { name: 'a group › the last', from: 28, to: 30 },
      { name: 'after it', from: 32, to: 33 },
    ])
  })

  test('the innermost one around a line is meant', () => {
    const blocks = testsIn(text)
    expect(testAt(blocks, 2)).toBeUndefined()
    expect([3, 12, 22, 25, 29].map((line) => testAt(blocks, line)?.name)).toEqual([
      'one line',
      'a table, %s',
      'a group',
      `a group › version \${version}`,
      'a group › the last',
    ])
  })
})

describe('the report', () => {
  const SECTIONS = [
    section('1 First', [
      ['1.1.1-1', 'server', 'Met and shown'],
      ['1.1.1-2', 'both', 'Met | only'],
      ['1.1.1-3', 'client', 'Of clients'],
      ['1.1.1-4', 'server', 'Missing'],
    ]),
    section(
      '2 Old',
      [
        ['2.1.1-1', 'server', 'Not here', { note: 'there is no such thing' }],
        ['2.1.1-2', 'server', 'Shown as others are', { as: '1.1.1-1' }],
        ['2.1.1-3', 'server', 'Met in part', { as: '1.1.1-1 1.1.1-4' }],
      ],
      ' (3.1.1)',
    ),
  ]
  const made = (source: string) =>
    conformance(
      SECTIONS,
      new Map([['broker/a.ts', source]]),
      new Map([['test/a.test.ts', "test('[MQTT-1.1.1-1] it works', () => {\n  // [MQTT-1.1.1-1] again\n})"]]),
    )
  const SOURCE = '// [MQTT-1.1.1-1] [MQTT-1.1.1-2]\n\n// [MQTT-1.1.1-3]\n'

  test('links files and tests, and counts', () => {
    const text = report(made(SOURCE))
    expect(made(SOURCE).problems).toEqual([])
    for (const line of [
      '| MQTT 5.0 | 3 | 2 | 1 | 1 | 0 |',
      '| MQTT 3.1.1, where it differs | 3 | 1 | 1 | 1 | 1 |',
      '- MQTT-1.1.1-4: Missing',
      '- MQTT-2.1.1-1 (3.1.1): Not here: there is no such thing',
      '- MQTT-2.1.1-3 (3.1.1): Met in part',
      '- 1 First: 1.1.1-2, 1.1.1-4',
      '- 2 Old: 2.1.1-3',
      '| MQTT-2.1.1-2 (3.1.1) | Shown as others are | as MQTT-1.1.1-1 | as MQTT-1.1.1-1 |',
      '| MQTT-1.1.1-1 | Met and shown | [broker/a.ts](../broker/a.ts) | [a.test.ts](../test/a.test.ts) it works |',
      '| MQTT-1.1.1-2 | Met \\| only | [broker/a.ts](../broker/a.ts) |  |',
      '| MQTT-1.1.1-3 | Of clients | [broker/a.ts](../broker/a.ts) |',
    ])
      expect(text.split('\n')).toContain(line)
  })

  test('a tag for nothing, and a note that is not true any more, are problems', () => {
    expect(made('\n// [MQTT-1.1.1-5]').problems).toEqual([
      'broker/a.ts:2: there is no statement MQTT-1.1.1-5',
    ])
    expect(made('// [MQTT-2.1.1-1 (3.1.1)]').problems).toEqual([expect.stringContaining('drop the note')])
  })
})
