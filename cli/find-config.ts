import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import type { CliContext } from './context.ts'

export interface FoundConfig {
  /** Undefined: there is none, defaults and environment are all. */
  file: string | undefined
  /** Why this one: for the user. */
  because: string
}

/**
 * The config file: as asked for, else `$HUBBUB_CONFIG`, else the first one there is of
 * `./etc/hubbub.yaml`, `/etc/hubbub/hubbub.yaml` and the one in the package. One that was
 * named is taken even if it does not exist: reading it then says so.
 */
export function findConfig(
  context: Pick<CliContext, 'env' | 'cwd' | 'packageRoot'>,
  option: string | undefined,
): FoundConfig {
  const { env, cwd, packageRoot } = context
  if (option !== undefined) return { file: option, because: 'given with --config' }
  if (env.HUBBUB_CONFIG) return { file: env.HUBBUB_CONFIG, because: 'given by $HUBBUB_CONFIG' }
  const usual = [
    { file: 'etc/hubbub.yaml', because: 'in the current directory' },
    { file: '/etc/hubbub/hubbub.yaml', because: 'of this machine' },
    { file: join(packageRoot, 'etc', 'hubbub.yaml'), because: 'shipped with Hubbub' },
  ]
  const found = usual.find(({ file }) => existsSync(resolve(cwd, file)))
  return found ?? { file: undefined, because: 'no config file found, all defaults' }
}

export function describeFound({ file, because }: FoundConfig): string {
  return file === undefined ? because : `config file ${file} (${because})`
}
