/** What the topics of features may take from a client. */

const UNSAFE = /[+#\0]/

/**
 * A value as it may stand in a topic: undefined if it is missing or empty, or if it would act as a wildcard. A
 * client that calls itself `#` must not see what belongs to all others.
 */
export function topicValue(value: string | undefined): string | undefined {
  return value === undefined || value === '' || UNSAFE.test(value) ? undefined : value
}
