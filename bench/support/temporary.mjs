import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** A directory that is gone when this process has ended. */
export function temporaryDirectory() {
  const dir = mkdtempSync(join(tmpdir(), 'hubbub-bench-'))
  process.on('exit', () => rmSync(dir, { recursive: true, force: true }))
  return dir
}
