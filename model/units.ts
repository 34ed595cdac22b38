/**
 * Units as an operator writes them, read into numbers and written back:
 *
 *   duration   500ms  15s  1h30m  2d  15000 (ms)  infinity
 *   size       512B  64KB  1MB  65536 (bytes)  infinity     (KB = 1024)
 *   count      100  infinity
 *   rate       500/s  1000/10s  10MB/500ms  500 (per second)  infinity
 *   bind       1883  ":1883"  "127.0.0.1:1883"  "[::1]:1883"
 */
import { isIP } from 'node:net'
import { BrokerError } from './errors.ts'
import type { Bind, Rate } from './schema.ts'

/** What is expected of each unit, in the words of every error about it. */
export const UNIT_WORDS = {
  duration: 'a duration such as 500ms, 15s, 1h30m, 2d, or infinity',
  size: 'a size such as 512B, 64KB, 1MB, or infinity',
  count: 'a whole number, or infinity',
  rate: 'a rate such as 500/s, 1000/10s, 10MB/s, or infinity',
  bind: 'a port such as 1883, or an address such as "127.0.0.1:1883", "[::1]:1883" or ":1883"',
} as const

export type Unit = keyof typeof UNIT_WORDS

const MS = { d: 86_400_000, h: 3_600_000, m: 60_000, s: 1000, ms: 1 } as const
const BYTES = { GB: 1024 ** 3, MB: 1024 ** 2, KB: 1024, B: 1 } as const
const DURATION = /^(?:\d+(?:\.\d+)?(?:ms|[dhms]))+$/i
const DURATION_PART = /(\d+(?:\.\d+)?)(ms|[dhms])/gi
const SIZE = /^(\d+(?:\.\d+)?)\s*(B|KB|MB|GB)$/i
const BIND = /^(?:(?:\[(.*)\]|([^:[\]]*)):)?(\d{1,5})$/
const RATE = /^(\d+|\d+(?:\.\d+)?\s*(?:B|KB|MB|GB))(?:\s*\/\s*((?:ms|[dhms])|(?:\d+(?:ms|[dhms]))+))?$/i

/**
 * `1h30m` -> 5400000. A plain number is milliseconds.
 * @returns whole milliseconds, 0 or more, or `Infinity`
 * @throws BrokerError CONFIG_INVALID
 */
export function parseDuration(value: unknown): number {
  const plain = parsePlain(value)
  if (plain !== undefined) return plain
  const text = String(value).trim()
  if (typeof value !== 'string' || !DURATION.test(text)) throw unexpected('duration', value)
  let ms = 0
  for (const [, amount, unit] of text.matchAll(DURATION_PART)) {
    ms += Number(amount) * MS[unit?.toLowerCase() as keyof typeof MS]
  }
  if (!Number.isSafeInteger(Math.round(ms))) throw unexpected('duration', value)
  return Math.round(ms) // 1.005s is 1004.9999 in floating point
}

/** 5400000 -> `1h30m`. */
export function formatDuration(ms: number): string {
  if (ms === Number.POSITIVE_INFINITY) return 'infinity'
  if (ms === 0) return '0s'
  let rest = ms
  let text = ''
  for (const [unit, size] of Object.entries(MS)) {
    const amount = Math.floor(rest / size)
    if (amount > 0) text += `${amount}${unit}`
    rest -= amount * size
  }
  return text
}

/**
 * `64KB` -> 65536. A plain number is bytes.
 * @returns whole bytes, 0 or more, or `Infinity`
 * @throws BrokerError CONFIG_INVALID
 */
export function parseSize(value: unknown): number {
  const plain = parsePlain(value)
  if (plain !== undefined) return plain
  const match = typeof value === 'string' ? SIZE.exec(value.trim()) : null
  const unit = match?.[2]?.toUpperCase() as keyof typeof BYTES
  const bytes = match === null ? Number.NaN : Math.round(Number(match[1]) * BYTES[unit])
  if (!Number.isSafeInteger(bytes)) throw unexpected('size', value)
  return bytes
}

/** 65536 -> `64KB`: the largest unit that leaves no fraction. */
export function formatSize(bytes: number): string {
  if (bytes === Number.POSITIVE_INFINITY) return 'infinity'
  for (const [unit, size] of Object.entries(BYTES)) {
    if (bytes >= size && bytes % size === 0) return `${bytes / size}${unit}`
  }
  return `${bytes}B`
}

/**
 * A whole number or `infinity`.
 * @param range - inclusive; `infinity` is always above `minimum` and never above `maximum`
 * @throws BrokerError CONFIG_INVALID
 */
export function parseCount(value: unknown, range: { minimum?: number; maximum?: number } = {}): number {
  const count = parsePlain(value)
  if (count === undefined) throw unexpected('count', value)
  const { minimum = 0, maximum = Number.POSITIVE_INFINITY } = range
  if (count < minimum || count > maximum) {
    const words = maximum === Number.POSITIVE_INFINITY ? `${minimum} or more` : `${minimum} to ${maximum}`
    throw new BrokerError('CONFIG_INVALID', `expected a whole number, ${words}, found ${found(value)}`)
  }
  return count
}

export function formatCount(count: number): string | number {
  return count === Number.POSITIVE_INFINITY ? 'infinity' : count
}

/**
 * `10MB/500ms` -> 10485760 per 500. Without a time it is per second.
 * @param minimum - of the count
 * @throws BrokerError CONFIG_INVALID
 */
export function parseRate(value: unknown, minimum = 0): Rate {
  const rate = readRate(value)
  if (rate.count >= minimum) return rate
  throw new BrokerError('CONFIG_INVALID', `expected a rate of ${minimum} or more, found ${found(value)}`)
}

/** 10485760 per 500 -> `10MB/500ms`. Only whole megabytes are written as a size: a rate does not know what it counts. */
export function formatRate(rate: Rate): string {
  if (rate.count === Number.POSITIVE_INFINITY) return 'infinity'
  const amount = rate.count > 0 && rate.count % BYTES.MB === 0 ? formatSize(rate.count) : String(rate.count)
  return `${amount}/${formatDuration(rate.perMs).replace(/^1(?=\D+$)/, '')}`
}

/**
 * Where a listener binds. Host names are refused: what they mean is not known before they are resolved.
 * @throws BrokerError CONFIG_INVALID
 */
export function parseBind(value: unknown): Bind {
  const text = typeof value === 'string' ? value.trim() : String(value)
  const match = BIND.exec(text)
  const [, v6, v4, port] = match ?? []
  if (port === undefined || (v6 !== undefined && isIP(v6) !== 6) || (v4 && isIP(v4) !== 4)) {
    throw unexpected('bind', value)
  }
  if (Number(port) > 65_535) {
    throw new BrokerError('CONFIG_INVALID', `expected a port from 0 to 65535, found ${found(value)}`)
  }
  return { host: v6 ?? (v4 || undefined), port: Number(port) }
}

/** A port alone stays a number, so that it is written without quotes. */
export function formatBind(bind: Bind): string | number {
  if (bind.host === undefined) return bind.port
  return isIP(bind.host) === 6 ? `[${bind.host}]:${bind.port}` : `${bind.host}:${bind.port}`
}

/** A plain whole number or `infinity`; undefined for anything else. */
function parsePlain(value: unknown): number | undefined {
  if (typeof value === 'number') return Number.isSafeInteger(value) && value >= 0 ? value : undefined
  if (typeof value !== 'string') return undefined
  const text = value.trim().toLowerCase()
  if (text === 'infinity') return Number.POSITIVE_INFINITY
  return /^\d{1,15}$/.test(text) ? Number(text) : undefined
}

function readRate(value: unknown): Rate {
  const plain = parsePlain(value)
  if (plain !== undefined) return { count: plain, perMs: 1000 }
  const match = typeof value === 'string' ? RATE.exec(value.trim()) : null
  const [, amount = '', period = 's'] = match ?? []
  const perMs = match === null ? 0 : parseDuration(/^\d/.test(period) ? period : `1${period}`)
  if (perMs === 0) throw unexpected('rate', value)
  return { count: parseSize(amount), perMs }
}

function unexpected(unit: Unit, value: unknown): BrokerError {
  return new BrokerError('CONFIG_INVALID', `expected ${UNIT_WORDS[unit]}, found ${found(value)}`)
}

function found(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value)
  return text.length > 60 ? `${text.slice(0, 57)}...` : text
}
