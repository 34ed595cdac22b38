/** What each authorization source says of an action that nobody has asked for. The cache is not used, and nothing is counted by the chain. */
import type { Action, Permission } from '../model/access.ts'
import type { ClientInfo } from '../model/client-info.ts'
import { type ExplainedStep, failureOf, since } from '../model/explanation.ts'
import type { Logger } from '../model/log.ts'
import type { AuthzChain, ChainOptions } from './chain.ts'
import { checkedTopic } from './checked-topic.ts'
import { ConditionalSource } from './precondition.ts'
import { compileRules, firstMatch } from './rule.ts'
import type { Source, SourceAnswer } from './source.ts'

export interface ExplainedDecision {
  readonly steps: readonly ExplainedStep[]
  readonly result: Permission
}

/** As `AuthzChain.authorize` decides, with everybody's answer. @param nowMs - Unix time */
export function explainAction(
  chain: AuthzChain,
  options: ChainOptions,
  client: ClientInfo,
  action: Action,
  topic: string,
  { log, nowMs }: { readonly log: Logger; readonly nowMs: number },
): Promise<ExplainedDecision> {
  const checked = (options.includeMountpoint === true ? client.mountpoint : '') + checkedTopic(action, topic)
  const known = ownRights(client, action, checked, nowMs)
  if (known.result !== undefined) return Promise.resolve({ steps: known.steps, result: known.result })
  return chain.hold(askAll(chain, options, known.steps, client, action, checked, log))
}

/** What it brought along from its login. */
function ownRights(
  client: ClientInfo,
  action: Action,
  topic: string,
  nowMs: number,
): { steps: ExplainedStep[]; result: Permission | undefined } {
  const decided = (who: string, result: Permission, detail?: string) => ({
    steps: [{ who, outcome: result, detail }],
    result,
  })
  if (client.isSuperuser) return decided('superuser', 'allow', 'superusers are asked nothing')
  if (client.acl === undefined) return { steps: [], result: undefined }
  const who = 'rules of the login'
  if ((client.authExpiresAtMs ?? Number.POSITIVE_INFINITY) <= nowMs)
    return decided(who, 'deny', 'the login has expired')
  const said = firstMatch(compileRules(client.acl), client, action, topic)
  if (said !== undefined) return decided(who, said)
  return { steps: [{ who, outcome: 'ignore', detail: 'none of them fits' }], result: undefined }
}

async function askAll(
  { links }: AuthzChain,
  options: ChainOptions,
  before: readonly ExplainedStep[],
  client: ClientInfo,
  action: Action,
  topic: string,
  log: Logger,
): Promise<ExplainedDecision> {
  const steps = [...before]
  let result: Permission | undefined
  for (const { source, deniesOnFailure } of links) {
    if (result !== undefined) {
      steps.push({ who: source.type, outcome: 'skipped', detail: 'the answer is there already' })
      continue
    }
    const step = await ask(source, client, action, topic, log)
    steps.push(step)
    if (step.outcome === 'allow' || step.outcome === 'deny') result = step.outcome
    else if (step.outcome === 'failed' && deniesOnFailure) result = 'deny'
  }
  if (result !== undefined) return { steps, result }
  const last = undecided(steps, options)
  return { steps: [...steps, last], result: last.outcome }
}

function undecided(
  steps: readonly ExplainedStep[],
  { noMatch, ignoreBackendFailures }: ChainOptions,
): ExplainedStep & { outcome: Permission } {
  if (!ignoreBackendFailures && steps.some(({ outcome }) => outcome === 'failed'))
    return { who: 'ignore_backend_failures', detail: 'is false, and a source has failed', outcome: 'deny' }
  return { who: 'no_match', detail: `is ${noMatch}, and no source has decided`, outcome: noMatch }
}

async function ask(
  source: Source,
  client: ClientInfo,
  action: Action,
  topic: string,
  log: Logger,
): Promise<ExplainedStep> {
  const who = source.type
  const startMs = performance.now()
  try {
    if (source instanceof ConditionalSource && !source.holds(client, action, topic))
      return { who, outcome: 'skipped', detail: 'its precondition does not give true' }
    const answer = await source.authorize(client, action, topic)
    return { who, outcome: answer, detail: DETAILS[answer], tookMs: since(startMs) }
  } catch (error) {
    return { who, outcome: 'failed', detail: failureOf(error, who, log), tookMs: since(startMs) }
  }
}

const DETAILS = {
  allow: undefined,
  deny: undefined,
  ignore: 'none of its rules fits',
} as const satisfies Record<SourceAnswer, string | undefined>
