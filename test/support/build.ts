/** What the interop tests need before they start: the built program, and certificates. */
import { spawnSync } from 'node:child_process'
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import type { TestProject } from 'vitest/node'
import { type Certs, makeCerts } from './certs.ts'

declare module 'vitest' {
  interface ProvidedContext {
    certs: Certs
  }
}

const ROOT = join(import.meta.dirname, '..', '..')

/** Called by vitest once, before the first test. @throws with the compiler's complaints */
export default function setup({ provide }: TestProject): () => void {
  build()
  const certs = makeCerts()
  provide('certs', certs)
  return () => rmSync(certs.dir, { recursive: true, force: true })
}

function build(): void {
  const { status, stdout, stderr, error } = spawnSync('npx', ['tsc', '-p', 'tsconfig.build.json'], {
    cwd: ROOT,
    encoding: 'utf8',
  })
  if (error !== undefined) throw error
  if (status !== 0) throw new Error(`the build failed, so the interop tests cannot run:\n${stdout}${stderr}`)
}
