import { BUILT_IN, type BuiltInConfig, DEFAULT_MAX_RULES } from '../authz/built-in-database.ts'
import { BuiltInRules, type RuleCounts, type RulesOf } from '../authz/built-in-rules.ts'
import { RuleTable, type Subject } from '../authz/built-in-table.ts'
import type { RuleItem } from '../authz/rule-item.ts'
import type { ControlClient } from '../control/client/client.ts'
import type { CliContext } from './context.ts'
import { type BrokerOptions, noteLog, placeOf, reach, withStorage } from './reach.ts'

/** Rules of the built-in database, as the commands need them. */
export interface Rules {
  readonly maxRules: number
  list(): AsyncIterable<RulesOf>
  add(subject: Subject, rule: RuleItem, isFirst: boolean): Promise<void>
  /** False if there is nothing to delete. @param number - of one rule, from 1; undefined: all of the subject */
  delete(subject: Subject, number: number | undefined): Promise<boolean>
  import(rules: readonly RulesOf[], override: boolean): Promise<RuleCounts>
}

/** Works on the rules of a broker that runs, or else on those in its storage. What was changed is safe when it resolves. */
export async function withRules(
  context: CliContext,
  options: BrokerOptions,
  work: (rules: Rules) => Promise<void>,
): Promise<void> {
  const reached = await reach(placeOf(context, options))
  const { client, config } = reached
  const source = config.authorization.sources.find(({ type }) => type === BUILT_IN) as
    | BuiltInConfig
    | undefined
  if (source?.enable !== true)
    context.note(`note: these rules are not asked: authorization.sources has no enabled ${BUILT_IN}\n`)
  if (client !== undefined) return work(await remoteRules(client))
  const log = noteLog(context)
  await withStorage(reached, log, async (durable) => {
    const maxRules = () => source?.max_rules ?? DEFAULT_MAX_RULES
    await work(localRules(new BuiltInRules(await RuleTable.load(durable, log), { maxRules })))
  })
}

async function remoteRules(client: ControlClient): Promise<Rules> {
  const { maxRules } = await client.call('rules.about', {})
  return {
    maxRules,
    list: () => client.list('rules.list', {}),
    add: async (subject, rule, isFirst) => {
      await client.call('rules.add', { subject, rule, isFirst })
    },
    delete: async (subject, number) => (await client.call('rules.delete', { subject, number })).deleted,
    import: (rules, override) => client.call('rules.import', { rules, override }),
  }
}

function localRules(rules: BuiltInRules): Rules {
  return {
    maxRules: rules.maxRules,
    async *list() {
      yield* rules.list()
    },
    add: (subject, rule, isFirst) => rules.add(subject, rule, isFirst),
    delete: (subject, number) => rules.delete(subject, number),
    import: (imported, override) => rules.import(imported, { override }),
  }
}
