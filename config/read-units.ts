import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { ownOrConfigPath } from '../model/config-path.ts'
import { BrokerError, messageOf } from '../model/errors.ts'
import type { Bind, Rate } from '../model/schema.ts'
import type { Unit } from '../model/units.ts'
import {
  formatBind,
  formatCount,
  formatDuration,
  formatRate,
  formatSize,
  parseBind,
  parseCount,
  parseDuration,
  parseRate,
  parseSize,
} from '../model/units.ts'
import type { Layers } from './layers.ts'
import type { Path } from './path.ts'
import { type Problem, problemAt } from './problem.ts'
import { mapLeaves, type SchemaNode } from './walk.ts'

/**
 * `"30s"` -> 30000 all over the tree, secrets read from the files they name, and `${EMQX_ETC_DIR}` in paths.
 * @param configDir - of the config file
 */
export function readUnits(
  schema: SchemaNode,
  layers: Layers,
  configDir: string,
): { config: unknown; problems: Problem[] } {
  const problems: Problem[] = []
  const config = mapLeaves(schema, layers.tree, (field, value, path) => {
    if (!isWritten(field, value)) return value // validation has said so already
    if (field['x-file']) return ownOrConfigPath(configDir, String(value))
    try {
      return field['x-secret'] ? readSecret(value) : readUnit(field, value)
    } catch (error) {
      problems.push(problemAt(layers.originOf(path), path, reasonOf(error, path)))
      return value
    }
  })
  return { config, problems }
}

/**
 * A value as code gets it.
 * @throws BrokerError CONFIG_INVALID
 */
export function readUnit(field: SchemaNode, value: unknown): unknown {
  switch (field['x-unit'] as Unit | undefined) {
    case 'duration':
      return parseDuration(value)
    case 'size':
      return parseSize(value)
    case 'count':
      return parseCount(value, rangeOf(field))
    case 'rate':
      return parseRate(value, field.minimum)
    case 'bind':
      return parseBind(value)
    default:
      return value
  }
}

/** A value as an operator writes it: the opposite of `readUnit`. Secrets stay hidden. */
export function writeUnit(field: SchemaNode, value: unknown): unknown {
  if (field['x-secret']) return HIDDEN
  switch (field['x-unit'] as Unit | undefined) {
    case 'duration':
      return formatDuration(value as number)
    case 'size':
      return formatSize(value as number)
    case 'count':
      return formatCount(value as number)
    case 'rate':
      return formatRate(value as Rate)
    case 'bind':
      return formatBind(value as Bind)
    default:
      return value
  }
}

/** What is shown in place of a secret. */
export const HIDDEN = '******'

function isWritten(field: SchemaNode, value: unknown): boolean {
  return typeof value === 'string' || (typeof value === 'number' && !field['x-secret'])
}

/** One line end at the file's end is not part of the secret: editors put it there. */
function readSecret(value: unknown): string {
  const text = String(value)
  if (!text.startsWith('file://')) return text
  try {
    return readFileSync(fileURLToPath(text), 'utf8').replace(/\r?\n$/, '')
  } catch (error) {
    throw new BrokerError('CONFIG_INVALID', `cannot read the secret from its file: ${messageOf(error)}`, {
      cause: error,
    })
  }
}

function rangeOf(field: SchemaNode): { minimum?: number; maximum?: number } {
  return {
    ...(field.minimum === undefined ? {} : { minimum: field.minimum }),
    ...(field.maximum === undefined ? {} : { maximum: field.maximum }),
  }
}

function reasonOf(error: unknown, path: Path): string {
  if (error instanceof BrokerError) return error.message
  throw new BrokerError('INTERNAL', `cannot read ${path.join('.')}`, { cause: error })
}
