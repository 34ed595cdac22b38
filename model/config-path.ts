import { resolve } from 'node:path'

/** What EMQX writes before its files; here they are beside the config file. */
const CONFIG_DIR = /^\$\{EMQX_ETC_DIR\}[/\\]?/

/** A file of the config: relative paths, and those below `${EMQX_ETC_DIR}`, start at the directory of the config file. */
export function configPath(configDir: string, path: string): string {
  return resolve(configDir, path.replace(CONFIG_DIR, ''))
}

/** A file that counts from where the broker is started, unless it is below `${EMQX_ETC_DIR}`. */
export function ownOrConfigPath(configDir: string, path: string): string {
  return CONFIG_DIR.test(path) ? configPath(configDir, path) : path
}
