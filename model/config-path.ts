import { resolve } from 'node:path'

/** What EMQX writes before its files; here they are beside the config file. */
const CONFIG_DIR = /^\$\{EMQX_ETC_DIR\}[/\\]?/

/** A file of the config: relative paths, and those below `${EMQX_ETC_DIR}`, start at the directory of the config file. */
export function configPath(configDir: string, path: string): string {
  return resolve(configDir, path.replace(CONFIG_DIR, ''))
}
