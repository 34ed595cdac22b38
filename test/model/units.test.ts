import { expect, test } from 'vitest'
import {
  formatBind,
  formatCount,
  formatDuration,
  formatRate,
  formatSize,
  parseBind,
  parseCount,
  parseDuration,
  parseRate,
  parseSize,
} from '../../model/units.ts'

const MB = 1024 * 1024

test('durations are read as milliseconds', () => {
  const cases: [unknown, number][] = [
    ['500ms', 500],
    ['15s', 15_000],
    ['1h30m', 5_400_000],
    ['2d', 172_800_000],
    ['0.5s', 500],
    ['1.005s', 1005],
    ['15000', 15_000],
    [15_000, 15_000],
    [0, 0],
    ['infinity', Number.POSITIVE_INFINITY],
  ]
  for (const [text, ms] of cases) expect(parseDuration(text), String(text)).toBe(ms)
})

test('sizes are read as bytes, with 1024 to the KB', () => {
  const cases: [unknown, number][] = [
    ['512B', 512],
    ['64KB', 65_536],
    ['1 MB', MB],
    ['1.5kb', 1536],
    ['2GB', 2048 * MB],
    [100, 100],
    ['infinity', Number.POSITIVE_INFINITY],
  ]
  for (const [text, bytes] of cases) expect(parseSize(text), String(text)).toBe(bytes)
})

test('rates are read as a count per milliseconds', () => {
  const cases: [unknown, number, number][] = [
    ['500/s', 500, 1000],
    ['1000/10s', 1000, 10_000],
    ['10MB/500ms', 10 * MB, 500],
    ['60/m', 60, 60_000],
    ['10MB', 10 * MB, 1000],
    [500, 500, 1000],
    ['infinity', Number.POSITIVE_INFINITY, 1000],
  ]
  for (const [text, count, perMs] of cases) expect(parseRate(text), String(text)).toEqual({ count, perMs })
})

test('bind addresses are a port, an address with a port, or a port on every address', () => {
  const cases: [unknown, string | undefined, number][] = [
    [1883, undefined, 1883],
    ['1883', undefined, 1883],
    [':1883', undefined, 1883],
    ['127.0.0.1:1883', '127.0.0.1', 1883],
    ['[::1]:1883', '::1', 1883],
    ['0.0.0.0:0', '0.0.0.0', 0],
  ]
  for (const [text, host, port] of cases) expect(parseBind(text), String(text)).toEqual({ host, port })
})

test('counts keep within their range, and infinity is a count', () => {
  expect(parseCount(100)).toBe(100)
  expect(parseCount('100')).toBe(100)
  expect(parseCount('infinity', { minimum: 1 })).toBe(Number.POSITIVE_INFINITY)
  expect(() => parseCount(0, { minimum: 1 })).toThrow('expected a whole number, 1 or more, found 0')
  expect(() => parseCount('infinity', { maximum: 9 })).toThrow('0 to 9')
})

test('what is not understood is refused with what was expected and what was found', () => {
  const refused: [(value: unknown) => unknown, unknown[], string][] = [
    [parseDuration, ['15 sec', '', '-1s', -1, 1.5, '1h-', 's', true, null, '1e3'], 'expected a duration'],
    [parseSize, ['10XB', '-1B', 1.5, '', 'KB', '1.5'], 'expected a size'],
    [parseCount, ['many', 1.5, -1, '1.0', ''], 'expected a whole number'],
    [(value) => parseRate(value, 1), ['0/s', 0], 'expected a rate of 1 or more'],
    [parseRate, ['500/', '/s', '500/0s', '1/2/3', 'x/s', 'infinity/s', ''], 'expected a'],
    [
      parseBind,
      ['localhost:1883', '::1:1883', '[127.0.0.1]:1', '[]:1', '', 'x', '1.2.3:1', -1, 1.5],
      'expected a',
    ],
    [parseBind, [65_536, ':99999'], 'a port from 0 to 65535'],
  ]
  for (const [parse, values, words] of refused) {
    for (const value of values) {
      const about = `${parse.name} ${JSON.stringify(value)}`
      expect(() => parse(value), about).toThrow(words)
      expect(() => parse(value), about).toThrow(expect.objectContaining({ code: 'CONFIG_INVALID' }))
    }
  }
})

test('what is read can be written back as an operator would', () => {
  for (const text of ['500ms', '15s', '1h30m', '2d', '0s', '1m1s500ms', 'infinity']) {
    expect(formatDuration(parseDuration(text))).toBe(text)
  }
  for (const text of ['512B', '64KB', '1MB', '3GB', '1000B', '0B', 'infinity']) {
    expect(formatSize(parseSize(text))).toBe(text)
  }
  for (const text of ['500/s', '1000/10s', '10MB/500ms', '60/m', '1/1h30m', '0/s', 'infinity']) {
    expect(formatRate(parseRate(text))).toBe(text)
  }
  for (const bind of [1883, '127.0.0.1:1883', '[::1]:1883']) expect(formatBind(parseBind(bind))).toBe(bind)
  expect(formatCount(parseCount('infinity'))).toBe('infinity')
  expect(formatCount(7)).toBe(7)
})
