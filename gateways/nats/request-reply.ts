/**
 * Requests that cross protocols. A reply subject is the MQTT 5 Response Topic, and itself the correlation data.
 *
 * The other way the reply subject is that of the Response Topic where this says everything. Where there is
 * correlation data, or the topic has no subject that leads back to it, both are put into the reply subject:
 *
 *     _MQTT.reply.<correlation data or "-">.<topic>       base64url, as in RFC 4648 §5
 *
 * A PUB to that goes to the topic, with the correlation data. So nothing has to be remembered until the answer comes,
 * and whoever answers may do so from another connection. It gives no rights: the topic is what is authorized.
 */
import type { MessageProperties } from '../../model/message.ts'
import { isValidTopicName } from '../../model/topic.ts'
import { isReversible, type Subject, subjectOf } from './subject.ts'

const PREFIX = '_MQTT.reply.'
const NO_DATA = '-'
const MAX_CORRELATION_BYTES = 1024
const MAX_TOPIC_CHARS = 1024

/** Where an answer goes. */
export interface AnswerTarget {
  readonly topic: string
  readonly correlationData: Uint8Array | undefined
}

/** Whether a PUB to this subject answers a request of MQTT. */
export function isAnswer(subject: Subject): boolean {
  return subject.text.startsWith(PREFIX)
}

/** @returns undefined if that is no subject that `replySubject` has made */
export function answerTarget(subject: Subject): AnswerTarget | undefined {
  const [data = '', topic64 = '', ...more] = subject.text.slice(PREFIX.length).split('.')
  const topic = Buffer.from(topic64, 'base64url').toString()
  if (more.length > 0 || data === '' || !isValidTopicName(topic)) return undefined
  return { topic, correlationData: data === NO_DATA ? undefined : Buffer.from(data, 'base64url') }
}

/** The properties that a request with `reply` has for others. */
export function requestProperties(
  reply: string,
  mountpoint: string,
): Pick<MessageProperties, 'responseTopic' | 'correlationData'> {
  return { responseTopic: mountpoint + reply.replaceAll('.', '/'), correlationData: Buffer.from(reply) }
}

/**
 * The reply subject of a message; undefined if nobody waits for an answer, or if the one who is to answer
 * cannot reach that topic because it lies outside of its mountpoint.
 */
export function replySubject(
  properties: Readonly<MessageProperties>,
  mountpoint: string,
): string | undefined {
  const { responseTopic, correlationData } = properties
  if (responseTopic === undefined || !responseTopic.startsWith(mountpoint)) return undefined
  const topic = responseTopic.slice(mountpoint.length)
  if (topic.length === 0 || topic.length > MAX_TOPIC_CHARS) return undefined
  const subject = subjectOf(topic)
  if (subject !== undefined && correlationData !== undefined && isText(correlationData, subject))
    return subject
  if (subject !== undefined && correlationData === undefined && isReversible(topic)) return subject
  if (correlationData !== undefined && correlationData.length > MAX_CORRELATION_BYTES) return subject
  // No data and empty data are the same to a token, which cannot be empty.
  const data = correlationData?.length ? Buffer.from(correlationData).toString('base64url') : NO_DATA
  return `${PREFIX}${data}.${Buffer.from(topic).toString('base64url')}`
}

function isText(bytes: Uint8Array, text: string): boolean {
  return bytes.length === Buffer.byteLength(text) && Buffer.from(text).equals(bytes)
}
