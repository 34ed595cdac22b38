import { spawnSync } from 'node:child_process'
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { temporaryDirectory } from '../config/sample.ts'
import { requireService, skipNote } from './services.ts'

const SCRIPT = join(import.meta.dirname, 'services')
/** Every program that the script looks for. */
const WANTED = Array.from(
  (/^WANTED="([^"]+)"/m.exec(readFileSync(SCRIPT, 'utf8'))?.[1] ?? '').matchAll(/([\w.-]+):/g),
  ([, program = '']) => program,
)

/** A PATH with nothing on it but what is named. */
function pathWith(programs: string[]): string {
  const directory = join(temporaryDirectory(), 'bin')
  mkdirSync(directory)
  for (const program of programs) {
    writeFileSync(join(directory, program), '#!/bin/sh\n')
    chmodSync(join(directory, program), 0o755)
  }
  return directory
}

test('a program that is there is found, also in a directory only root has on its PATH', () => {
  const directory = pathWith(['mosquitto_pub'])
  const path = join(directory, 'mosquitto_pub')
  const found = requireService('mosquitto_pub', { PATH: directory })
  expect(found).toEqual({ skip: false, path })
  expect(skipNote(found)).toBe('')
})

test('a program that is missing skips with its reason, and fails where CI=true', () => {
  const missing = 'no_such_program' as 'openssl'
  const warned: string[] = []
  const answer = requireService(missing, { PATH: '/none' }, (text) => warned.push(text))
  expect(answer).toEqual({
    skip: true,
    reason: 'no_such_program is not installed, test/support/services gets it',
  })
  expect(skipNote(answer)).toContain('(skipped: no_such_program')
  expect(warned).toEqual(['skipped: no_such_program is not installed, test/support/services gets it'])
  expect(() => requireService(missing, { PATH: '/none', CI: 'true' })).toThrow('no_such_program')
})

test('the script is quiet when everything is there', () => {
  expect(runScript(WANTED)).toEqual({ status: 0, said: '' })
})

test('the script says what to install where it cannot, and fails only where CI=true', () => {
  for (const [ci, status] of [
    ['', 0],
    ['true', 1],
  ] as const) {
    const answer = runScript(
      WANTED.filter((program) => !program.startsWith('mosquitto_')),
      { CI: ci },
    )
    expect(answer.status, `CI=${ci}`).toBe(status)
    expect(answer.said).toContain('not installed: mosquitto-clients\n')
  }
})

/** Runs it with nothing on its PATH but `programs`, so that it finds no apt-get. */
function runScript(programs: string[], env: Record<string, string> = {}) {
  const { status, stdout, stderr } = spawnSync('/bin/sh', [SCRIPT], {
    env: { ...env, PATH: pathWith(programs) },
    encoding: 'utf8',
  })
  return { status, said: stdout + stderr }
}
