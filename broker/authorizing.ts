import type { Authorization } from '../hooks/hookpoints.ts'
import type { Action } from '../model/access.ts'
import { isPromise, type MaybePromise } from '../model/async.ts'
import type { ClientInfo } from '../model/client-info.ts'
import type { QoS } from '../model/message.ts'
import type { Hub } from './hub.ts'

/** One object per possible action, so that a check allocates nothing. Publish: index qos * 2 + retain. */
const PUBLISH_ACTIONS: readonly Action[] = ([0, 1, 2] as const).flatMap((qos) => [
  { kind: 'publish', qos, retain: false } as const,
  { kind: 'publish', qos, retain: true } as const,
])
const SUBSCRIBE_ACTIONS: readonly Action[] = ([0, 1, 2] as const).map((qos) => ({ kind: 'subscribe', qos }))

const BY_SUPERUSER: Authorization = { result: 'allow', from: 'superuser' }

export function publishing(qos: QoS, retain: boolean): Action {
  return PUBLISH_ACTIONS[qos * 2 + (retain ? 1 : 0)] as Action
}

export function subscribing(qos: QoS): Action {
  return SUBSCRIBE_ACTIONS[qos] as Action
}

/** May this client do it? Superusers may; without hooks everybody may. `topic` is without mountpoint. */
export function isAllowed(hub: Hub, info: ClientInfo, action: Action, topic: string): MaybePromise<boolean> {
  const { authorizing, noMatch, metrics } = hub
  if (info.isSuperuser) {
    metrics.authorization.allow++
    metrics.authorization.superuser++
    return decided(hub, info, action, topic, BY_SUPERUSER)
  }
  if (!authorizing.isUsed) return true
  metrics.clientAuthorize++
  const known = authorizing.known?.(1, noMatch, info, action, topic)
  if (known !== undefined) return decided(hub, info, action, topic, known)
  const answer = authorizing.fold(noMatch, info, action, topic)
  return isPromise(answer)
    ? decidedLater(hub, info, action, topic, answer)
    : decided(hub, info, action, topic, answer)
}

/**
 * Whether it is known, without asking anybody, that the client may publish to `topic`. False: ask.
 * @param times - for how many messages, which are counted; 0 = it is only looked
 */
export function isKnownToPublish(
  hub: Hub,
  info: ClientInfo,
  action: Action,
  topic: string,
  times: number,
): boolean {
  const { authorizing, noMatch, metrics, hooks } = hub
  if (hooks.used['client.check_authz_complete']) return false
  if (info.isSuperuser) {
    metrics.authorization.allow += times
    metrics.authorization.superuser += times
    return true
  }
  if (!authorizing.isUsed) return true
  metrics.clientAuthorize += times
  return authorizing.known?.(times, noMatch, info, action, topic)?.result === 'allow'
}

// A function of its own, as everywhere on the way of a message: closures cost their function even where none is made.
async function decidedLater(
  hub: Hub,
  info: ClientInfo,
  action: Action,
  topic: string,
  answer: Promise<Authorization>,
): Promise<boolean> {
  return decided(hub, info, action, topic, await answer)
}

function decided(
  { hooks, log }: Hub,
  info: ClientInfo,
  action: Action,
  topic: string,
  authorization: Authorization,
): boolean {
  if (hooks.used['client.check_authz_complete'])
    hooks.run('client.check_authz_complete', info, action, topic, authorization)
  if (authorization.result === 'allow') return true
  const { clientId, username } = info
  log.debug({ clientid: clientId, username, action, topic, source: authorization.from }, 'access denied')
  return false
}
