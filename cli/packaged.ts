import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'

/** The directory of our package.json, seen from the sources as well as from dist/. */
export function packageRoot(from: string): string {
  let directory = from
  while (!existsSync(join(directory, 'package.json')) && dirname(directory) !== directory) {
    directory = dirname(directory)
  }
  return directory
}
