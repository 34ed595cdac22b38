/** For operators: what `internal_authn` makes of a login. A key's signature cannot be had from the command line. */
import type { Login } from '../../model/access.ts'
import type { ExplainedStep } from '../../model/explanation.ts'
import { ReasonCode } from '../../model/reason-codes.ts'
import type { OwnAnswer } from '../gateway.ts'
import type { InternalAuthnConfig, NatsConfig } from './config.ts'
import { ConnectPacket } from './info.ts'
import { type Evidence, InternalAuthn, type InternalVerdict } from './internal-authn.ts'

/** As `InternalAuthn.check` decides, method by method. A password without user name is taken for the token. */
export async function explainInternalAuthn(
  { internal_authn: methods }: Pick<NatsConfig, 'internal_authn'>,
  { client, password }: Login,
  hasMore: boolean,
): Promise<OwnAnswer> {
  const token = client.username === undefined ? password?.toString() : undefined
  const packet = new ConnectPacket(new Map(token === undefined ? [] : [['auth_token', token]]))
  const steps: ExplainedStep[] = []
  let verdict: OwnAnswer['verdict']
  const origin = { host: client.peerHost, isWebSocket: false }
  for (const method of methods) {
    const who = `internal_authn:${method.type}`
    if (verdict !== undefined) {
      steps.push({ who, outcome: 'skipped', detail: 'the answer is there already' })
      continue
    }
    const answer = await answerOf(method, { packet, nonce: undefined, nowMs: Date.now(), origin })
    verdict = verdictOf(answer)
    steps.push({ who, ...describe(method, answer) })
  }
  if (verdict === undefined && methods.length > 0 && !hasMore) {
    const detail = 'there was no credential for any method, and no authenticator comes after them'
    steps.push({ who: 'internal_authn', outcome: 'deny', detail })
    verdict = { kind: 'deny', reason: ReasonCode.NotAuthorized }
  }
  return { steps, verdict }
}

/** @returns undefined if it could not be asked */
async function answerOf(
  method: InternalAuthnConfig,
  evidence: Evidence,
): Promise<InternalVerdict | undefined> {
  if (method.type !== 'token') return undefined
  return new InternalAuthn([method]).check(evidence, true)
}

function verdictOf(answer: InternalVerdict | undefined): OwnAnswer['verdict'] {
  switch (answer?.kind) {
    case 'vouched':
      return { kind: 'allow', principal: { isSuperuser: false, username: answer.username } }
    case 'refused':
      return { kind: 'deny', reason: ReasonCode.NotAuthorized }
    default:
      return undefined
  }
}

function describe(
  { type }: InternalAuthnConfig,
  answer: InternalVerdict | undefined,
): Pick<ExplainedStep, 'outcome' | 'detail'> {
  switch (answer?.kind) {
    case 'vouched':
      return { outcome: 'allow' }
    case 'refused':
      return { outcome: 'deny', detail: answer.reason }
    case 'unasked':
      return { outcome: 'ignore', detail: 'no token: a password without user name is taken for one' }
    default:
      return { outcome: 'skipped', detail: `asks for a ${wanted(type)}, which only the client has` }
  }
}

function wanted(type: InternalAuthnConfig['type']): string {
  return type === 'jwt' ? 'JWT with a signature' : 'signature'
}
