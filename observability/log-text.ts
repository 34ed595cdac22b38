/**
 * The log for people, one line per event:
 *
 *   2025-06-01T12:00:00.000Z INFO: listening listener=tcp:default address=0.0.0.0:1883
 */
import type { DestinationStream } from 'pino'
import pretty from 'pino-pretty'

/** Turns pino's JSON lines into text on the way to `target`, within the call. */
export function textLines(target: DestinationStream, colours: boolean): DestinationStream {
  const format = pretty.prettyFactory({
    colorize: colours,
    hideObject: true,
    messageFormat: (log, messageKey) => oneLine(log, messageKey),
    translateTime: false,
    customPrettifiers: { time: textOf },
  })
  return {
    write(line) {
      target.write(format(line) ?? '')
    },
  }
}

function oneLine(log: Record<string, unknown>, messageKey: string): string {
  const { [messageKey]: message, time: _, level: __, ...fields } = log
  const pairs = Object.entries(fields).map(([key, value]) => `${key}=${show(value)}`)
  return [visible(textOf(message)), ...pairs].join(' ')
}

function show(value: unknown): string {
  if (isAddress(value))
    return value.host.includes(':') ? `[${value.host}]:${value.port}` : `${value.host}:${value.port}`
  const isWord = typeof value === 'string' && /^[^\s"=\p{C}]+$/u.test(value)
  return isWord ? value : visible(JSON.stringify(value) ?? '')
}

function isAddress(value: unknown): value is { host: string; port: number } {
  if (typeof value !== 'object' || value === null) return false
  return (
    'host' in value && typeof value.host === 'string' && 'port' in value && typeof value.port === 'number'
  )
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : ''
}

/** What a peer sent must not start a line of its own, nor steer the terminal. */
function visible(text: string): string {
  return text.replaceAll(
    /\p{C}/gu,
    (char) => `\\u${(char.codePointAt(0) ?? 0).toString(16).padStart(4, '0')}`,
  )
}
