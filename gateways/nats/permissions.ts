import { patternCovers, patternsOverlap, subjectMatches } from './subject.ts'

/** Patterns of subjects. Nothing allowed by name means that everything is which is not denied. */
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

  /** A subscription that could get anything that is denied is refused as a whole. */
  maySubscribe(pattern: string): boolean {
    const { allow, deny } = this.#subscribe
    if (isDetour(pattern)) return false
    if (deny.some((denied) => patternsOverlap(denied, pattern))) return false
    return allow.length === 0 || allow.some((allowed) => patternCovers(allowed, pattern))
  }
}

function isDetour(subject: string): boolean {
  return DETOURS.some((prefix) => subject.startsWith(prefix))
}
