/**
 * `redis`: rules as hashes of Redis. A field is a topic filter; its value is `publish`, `subscribe`, `all`, or
 * `{"action":"publish","qos":[1,2],"retain":true}`. All of them allow.
 */
import Type from 'typebox'
import { Complaints } from '../connectors/complaints.ts'
import type { RedisConnector, RedisReply } from '../connectors/connector.ts'
import { openRedis } from '../connectors/redis.ts'
import { type RedisConfig, redisFields } from '../connectors/redis-config.ts'
import { type CommandTemplate, compileCommand } from '../connectors/template.ts'
import { templateRules } from '../connectors/template-rules.ts'
import { AUTHZ_PLACEHOLDERS } from '../connectors/variables.ts'
import type { Rule } from '../model/access.ts'
import { BrokerError, messageOf } from '../model/errors.ts'
import type { Logger } from '../model/log.ts'
import { Strict } from '../model/schema.ts'
import { sourceFields } from './fields.ts'
import { parseJsonRule } from './json-rule.ts'
import { type FindRules, QuerySource } from './query-source.ts'
import { defineSource, type SourceBase } from './source.ts'

const TYPE = 'redis'

type Compatibility = 'disabled' | 'v4'

export interface RedisRulesConfig extends SourceBase, RedisConfig {
  cmd: string
  compatibility_mode: Compatibility
}

export const redisRules = defineSource<RedisRulesConfig>({
  type: TYPE,
  schema: Strict(
    {
      ...sourceFields(TYPE),
      ...redisFields,
      cmd: Type.String({
        minLength: 1,
        description: 'HGETALL of a key with placeholders, or HMGET of a key and topic filters',
      }),
      compatibility_mode: Type.Unsafe<Compatibility>({
        type: 'string',
        enum: ['disabled', 'v4'],
        default: 'disabled',
        description:
          'v4: values are 1 (subscribe), 2 (publish) or 3 (both), and topics hold %u and %c, as of EMQX 4',
      }),
    },
    { description: 'Rules as hashes of Redis' },
  ),
  async create(config, context) {
    const command = compileCommand(config.cmd, templateRules(AUTHZ_PLACEHOLDERS, context.log))
    checkCommand(command.words)
    const connector = await openRedis(TYPE, config, context)
    return new QuerySource(connector, rulesIn(connector, command, config.compatibility_mode, context.log))
  },
})

/** @throws BrokerError CONFIG_INVALID for commands that look no rules up */
function checkCommand([name = '', key, ...fields]: readonly string[]): void {
  const refuse = (why: string) => new BrokerError('CONFIG_INVALID', `${TYPE}: cmd ${why}`)
  const verb = name.toUpperCase()
  if (verb !== 'HGETALL' && verb !== 'HMGET') throw refuse('must be HGETALL or HMGET')
  if (key === undefined || key === '') throw refuse('has no key')
  if (verb === 'HGETALL' && fields.length > 0) throw refuse('HGETALL takes a key and nothing else')
  if (verb === 'HMGET' && fields.length === 0) throw refuse('HMGET has no fields')
}

function rulesIn(
  connector: RedisConnector,
  command: CommandTemplate,
  mode: Compatibility,
  log: Logger,
): FindRules {
  const complaints = new Complaints(log)
  return async (values, client) => {
    const args = command.render(values)
    const pairs = pairsOf(args, await connector.command(args))
    return pairs.flatMap(([topic, value]) => {
      try {
        return [readEntry(topic, value, mode)]
      } catch (error) {
        // It could only have allowed something.
        complaints.say('a field is no rule and is passed over', { client }, messageOf(error))
        return []
      }
    })
  }
}

/** @throws BrokerError BACKEND_FAILED for what is no answer to these commands */
function pairsOf([verb = '', , ...fields]: readonly string[], reply: RedisReply): [string, string][] {
  if (!Array.isArray(reply))
    throw new BrokerError('BACKEND_FAILED', `${TYPE}: cmd was not answered with a list`)
  const isWhole = verb.toUpperCase() === 'HGETALL'
  const names = isWhole ? reply.filter((_, index) => index % 2 === 0) : fields
  const found = isWhole ? reply.filter((_, index) => index % 2 === 1) : reply
  return names.flatMap((name, index): [string, string][] => {
    const value = found[index]
    return value === undefined || value === null ? [] : [[String(name), String(value)]]
  })
}

const V4_ACTIONS: ReadonlyMap<string, string> = new Map([
  ['1', 'subscribe'],
  ['2', 'publish'],
  ['3', 'all'],
])

/** @throws BrokerError BACKEND_FAILED */
function readEntry(topic: string, value: string, mode: Compatibility): Rule {
  if (mode === 'v4') {
    return parseJsonRule({ permission: 'allow', action: V4_ACTIONS.get(value), topic: v4Topic(topic) })
  }
  const { permission = 'allow', ...fields } = value.startsWith('{') ? jsonFields(value) : { action: value }
  if (permission !== 'allow') throw new BrokerError('BACKEND_FAILED', 'rules here can only allow')
  return parseJsonRule({ ...fields, permission, topic, topics: undefined })
}

function jsonFields(text: string): Record<string, unknown> {
  try {
    return JSON.parse(text) as Record<string, unknown>
  } catch {
    throw new BrokerError('BACKEND_FAILED', 'the value is no JSON')
  }
}

function v4Topic(topic: string): string {
  return topic.replaceAll('%u', '${username}').replaceAll('%c', '${clientid}')
}
