import type { Action } from '../model/access.ts'
import { parseShared } from '../model/topic.ts'

const DOLLAR = 0x24
const EXCLUSIVE = '$exclusive/'
const DELAYED = /^\$delayed\/\d+\/(?=.)/s

/**
 * What rules are asked about: the filter inside `$share/<group>/`, `$queue/` and `$exclusive/`,
 * the topic inside `$delayed/<seconds>/`, else the text itself. Callers pass what the peer sent.
 */
export function checkedTopic(action: Action, topic: string): string {
  if (topic.charCodeAt(0) !== DOLLAR) return topic
  if (action.kind === 'publish') return topic.replace(DELAYED, '')
  if (topic.startsWith(EXCLUSIVE) && topic.length > EXCLUSIVE.length) return topic.slice(EXCLUSIVE.length)
  return parseShared(topic)?.filter ?? topic
}
