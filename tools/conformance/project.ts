import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Files } from './conformance.ts'

/** Folders without anything a client could notice, and the test of this tool with its made-up files. */
const NOT_SOURCES = /^(?:bench|dashboard|docs|test|tools)\//
const NOT_A_TEST = 'test/conformance.test.ts'

/** The TypeScript files that are, or are about to be, in the repository. */
export function readProject(root: string): { sources: Files; tests: Files } {
  const files = execFileSync(
    'git',
    ['ls-files', '-z', '--cached', '--others', '--exclude-standard', '*.ts'],
    {
      cwd: root,
      encoding: 'utf8',
    },
  )
    .split('\0')
    .filter((file) => file !== '' && existsSync(join(root, file)))
    .toSorted()
  const read = (wanted: string[]) =>
    new Map(wanted.map((file) => [file, readFileSync(join(root, file), 'utf8')]))
  return {
    sources: read(files.filter((file) => !NOT_SOURCES.test(file))),
    tests: read(files.filter((file) => file.startsWith('test/') && file !== NOT_A_TEST)),
  }
}
