import { patternCovers, patternsOverlap, subjectMatches } from './subject.ts'

/**
 * Patterns of subjects, those of subscriptions perhaps with a pattern of queue groups behind a space. Nothing allowed
 * by name means that everything is which is not denied.
 */
export interface PermissionList {
  readonly allow: readonly string[]
  readonly deny: readonly string[]
}

/** Prefixes behind which the broker takes the rest for the topic: what is meant would not be what is looked at. */
const DETOURS = ['$delayed.', '$exclusive.', '$share.', '$queue.']

/**
 * What a JWT lets its user do. The broker's own rules have their say after it. Subjects are given as they are
 * routed, with dots for slashes: two spellings of a topic must not have two answers.
 */
export class Permissions {
  readonly #publish: PermissionList
  readonly #subscribe: PermissionList

  constructor(publish: PermissionList, subscribe: PermissionList) {
    this.#publish = publish
    this.#subscribe = subscribe
  }

  mayPublish(subject: string): boolean {
    const { allow, deny } = this.#publish
    if (isDetour(subject)) return false
    if (deny.some((pattern) => subjectMatches(pattern, subject))) return false
    return allow.length === 0 || allow.some((pattern) => subjectMatches(pattern, subject))
  }

  /**
   * A subscription that could get anything that is denied is refused as a whole.
   * @param group - its queue group, '' for none
   */
  maySubscribe(pattern: string, group: string): boolean {
    const { allow, deny } = this.#subscribe
    if (isDetour(pattern)) return false
    const isDenied = (entry: string) => patternsOverlap(patternOf(entry), pattern) && isFor(entry, group)
    if (deny.some(isDenied)) return false
    if (allow.length === 0) return true
    const covering = allow.filter((entry) => patternCovers(patternOf(entry), pattern))
    // Where groups are named for a subject, others may not be used with it.
    const named = group === '' ? [] : covering.filter((entry) => queueOf(entry) !== undefined)
    return (named.length > 0 ? named : covering).some((entry) => isFor(entry, group))
  }
}

function patternOf(entry: string): string {
  return entry.trim().split(/\s+/)[0] ?? ''
}

function queueOf(entry: string): string | undefined {
  return entry.trim().split(/\s+/)[1]
}

/** One without a queue group is for all subscriptions. */
function isFor(entry: string, group: string): boolean {
  const queue = queueOf(entry)
  return queue === undefined || (group !== '' && subjectMatches(queue, group))
}

function isDetour(subject: string): boolean {
  return DETOURS.some((prefix) => subject.startsWith(prefix))
}
