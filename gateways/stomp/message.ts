/**
 * SEND -> message -> MESSAGE: which header is which property.
 *
 *     content-type   MQTT 5 Content Type
 *     qos, retain    of the message itself (extensions)
 *     hop by hop     destination, content-length, transaction, receipt, ... end here
 *     all others     MQTT 5 user properties, both ways
 */
import type { ClientInfo } from '../../model/client-info.ts'
import { BrokerError } from '../../model/errors.ts'
import { Message, type MessageProperties, type QoS } from '../../model/message.ts'
import { MessageHead } from '../../model/message-head.ts'
import { isValidTopicName } from '../../model/topic.ts'
import type { StompFrame } from './frame.ts'
import type { StompHeaders } from './headers.ts'

/** Headers that are about one hop, or have a property of their own. */
export const HOP_BY_HOP: ReadonlySet<string> = new Set([
  'destination',
  'content-length',
  'content-type',
  'transaction',
  'receipt',
  'qos',
  'retain',
  'message-id',
  'subscription',
  'ack',
])

/**
 * The topic a SEND goes to, verbatim.
 * @throws BrokerError PROTOCOL_VIOLATED when there is none, or it is no topic: empty, or with a wildcard
 */
function destinationOf(frame: StompFrame): string {
  const destination = required(frame, 'destination')
  if (!isValidTopicName(destination)) throw violated(`Invalid destination ${destination}`)
  return destination
}

/** @throws BrokerError PROTOCOL_VIOLATED */
export function required(frame: StompFrame, name: string): string {
  const value = frame.headers.get(name)
  if (value === undefined) throw violated(`Missing header ${name} in ${frame.command}`)
  return value
}

export function violated(text: string): BrokerError {
  return new BrokerError('PROTOCOL_VIOLATED', text)
}

/** Makes messages of the SEND frames of one client. Frames whose headers are one object say the same of their messages. */
export class Sends {
  readonly #publisher: ClientInfo
  #headers: StompHeaders | undefined
  #head: MessageHead | undefined

  constructor(publisher: ClientInfo) {
    this.#publisher = publisher
  }

  /**
   * @param nowMs - Unix time in milliseconds
   * @throws BrokerError PROTOCOL_VIOLATED when a header makes no sense
   */
  messageOf(frame: StompFrame, nowMs: number): Message {
    const { headers, body } = frame
    let head = this.#head
    if (head === undefined || headers !== this.#headers || head.timestampMs !== nowMs) {
      head = this.#headOf(frame, nowMs)
      this.#headers = headers
      // A hook may change properties where they are: each message has its own.
      this.#head = head.properties === undefined ? head : undefined
    }
    return new Message(head, body)
  }

  #headOf(frame: StompFrame, nowMs: number): MessageHead {
    const { headers } = frame
    const topic = destinationOf(frame)
    const properties = propertiesOf(headers)
    return new MessageHead(
      topic,
      qosOf(headers),
      retainOf(headers),
      properties,
      this.#publisher,
      nowMs,
      undefined,
    )
  }
}

function qosOf(headers: StompHeaders): QoS {
  const text = headers.get('qos')
  if (text === undefined || text === '0') return 0
  if (text === '1') return 1
  if (text === '2') return 2
  throw violated(`Invalid qos: ${text}`)
}

function retainOf(headers: StompHeaders): boolean {
  const text = headers.get('retain')
  if (text === undefined || text === 'false' || text === '0') return false
  if (text === 'true' || text === '1') return true
  throw violated(`Invalid retain: ${text}`)
}

function propertiesOf(headers: StompHeaders): MessageProperties | undefined {
  // Most SENDs of devices have a destination and nothing else.
  if (headers.size === 1) return undefined
  const userProperties: [string, string][] = []
  headers.forEach((name, value) => {
    if (!HOP_BY_HOP.has(name)) userProperties.push([name, value])
  })
  const contentType = headers.get('content-type')
  if (userProperties.length === 0 && contentType === undefined) return undefined
  return {
    ...(contentType === undefined ? {} : { contentType }),
    ...(userProperties.length === 0 ? {} : { userProperties }),
  }
}
