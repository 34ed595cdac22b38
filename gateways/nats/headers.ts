/**
 * Header blocks:
 *
 *     NATS/1.0 [code [text]] CRLF *( name ":" value CRLF ) CRLF
 *
 * Their headers are MQTT 5 user properties, in order and with duplicates; `Content-Type` is the Content Type.
 * The status of the first line is one too: `NATS/1.0` with the code and its text.
 */
import type { MessageProperties } from '../../model/message.ts'

const CONTENT_TYPE = 'Content-Type'
const VERSION = 'NATS/1.0'
/** Code and text. */
const STATUS = /^\d{3}( [ -~]*)?$/
/** A header name that can be said: visible characters but the colon. */
const NAME = /^[!-9;-~]+$/

/** The headers of a block that the decoder has found whole; a line without colon is none. */
export function headersOf(block: Buffer): Pick<MessageProperties, 'contentType' | 'userProperties'> {
  const userProperties: [string, string][] = []
  let contentType: string | undefined
  const [first = '', ...lines] = block.toString('utf8').split('\r\n')
  const status = first.slice(VERSION.length).trim()
  if (status !== '') userProperties.push([VERSION, status])
  for (const line of lines) {
    const colon = line.indexOf(':')
    if (colon <= 0) continue
    const name = line.slice(0, colon)
    const value = line.slice(colon + 1).trim()
    if (contentType === undefined && name.toLowerCase() === 'content-type') contentType = value
    else userProperties.push([name, value])
  }
  return {
    ...(contentType === undefined ? {} : { contentType }),
    ...(userProperties.length === 0 ? {} : { userProperties }),
  }
}

/** The block of a message of another protocol; undefined if it has no header. What cannot be said in one is left out. */
export function blockOf({
  contentType,
  userProperties = [],
}: Readonly<MessageProperties>): Buffer | undefined {
  let status = ''
  let lines = contentType === undefined ? '' : `${CONTENT_TYPE}: ${oneLine(contentType)}\r\n`
  for (const [name, value] of userProperties) {
    if (name === VERSION && STATUS.test(value)) status = ` ${value}`
    else if (NAME.test(name)) lines += `${name}: ${oneLine(value)}\r\n`
  }
  return lines === '' && status === '' ? undefined : Buffer.from(`${VERSION}${status}\r\n${lines}\r\n`)
}

/** A line end in a value would begin another header. */
function oneLine(text: string): string {
  return text.replaceAll(/[\r\n\0]+/g, ' ')
}
