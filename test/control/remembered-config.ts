import { readFileSync } from 'node:fs'
import type * as load from '../../config/load.ts'

/**
 * `config/load.ts` for tests that run many commands, as checking the config is most of what one costs: those that
 * differ in nothing but their directory are checked once.
 */
export function rememberedConfig(real: typeof load): typeof load {
  const known = new Map<string, { config: { node: object } }>()
  const loadConfig = (options: Parameters<typeof load.loadConfig>[0]) => {
    const { file, overrides } = options
    const text = file === undefined ? JSON.stringify(overrides) : readFileSync(file, 'utf8')
    const { node, ...rest } = JSON.parse(text) as { node: { data_dir: string } }
    const key = JSON.stringify(rest)
    const loaded = known.get(key) ?? (real.loadConfig(options) as { config: { node: object } })
    known.set(key, loaded)
    const config = structuredClone(loaded.config)
    return { ...loaded, config: { ...config, node: { ...config.node, data_dir: node.data_dir } } }
  }
  return { ...real, loadConfig: loadConfig as unknown as typeof load.loadConfig }
}
