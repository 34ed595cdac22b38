import { existsSync, readFileSync, renameSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { BrokerError } from '../../model/errors.ts'
import { createLog, type LogOptions } from '../../observability/log.ts'
import { temporaryDirectory } from '../config/sample.ts'

const FORMATS = ['text', 'json'] as const

/** A log and the lines it has written so far. */
function startLog(options: Partial<LogOptions> = {}) {
  const lines: string[] = []
  const stream = { write: (text: string) => void lines.push(text) }
  return { log: createLog({ level: 'debug', format: 'json', stream, ...options }), lines }
}

function parse(line: string | undefined): Record<string, unknown> {
  return JSON.parse(line ?? '{}') as Record<string, unknown>
}

test('a JSON line has time, level, message and fields', () => {
  const { log, lines } = startLog()
  log.child({ listener: 'tcp:default' }).warn({ clients: 3 }, 'nearly full')
  const { time, ...rest } = parse(lines[0])
  expect(time).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
  expect(rest).toEqual({ level: 'warn', msg: 'nearly full', listener: 'tcp:default', clients: 3 })
})

test('a text line reads from left to right: time, level, message, fields', () => {
  const { log, lines } = startLog({ format: 'text' })
  log
    .child({ listener: 'tcp:default' })
    .info({ client: 'a b', peer: { port: 1 }, count: 3 }, 'client connected')
  expect(lines[0]).toMatch(
    /^\d{4}-\S+Z INFO: client connected listener=tcp:default client="a b" peer=\{"port":1\} count=3\n$/,
  )
})

test('colours are for terminals only', () => {
  const { log, lines } = startLog({ format: 'text' })
  log.error({ error: new Error('x') }, 'failed')
  expect(lines.join('')).not.toContain('\u001b')
})

test('what is below the level is not written, and the level can be changed for all children', () => {
  const { log, lines } = startLog({ level: 'warn' })
  const child = log.child({ room: 'authn' })
  child.info({}, 'one')
  log.debug({}, 'two')
  expect(lines).toEqual([])
  log.setLevel('debug')
  child.debug({}, 'three')
  log.setLevel('error')
  child.warn({}, 'four')
  child.error({}, 'five')
  expect(lines.map((line) => parse(line).msg)).toEqual(['three', 'five'])
})

test('secrets are never written, wherever in the fields they are', () => {
  for (const format of FORMATS) {
    const { log, lines } = startLog({ format })
    const secrets = { password: 'hunter2', passcode: 'hunter2', secret: 'hunter2', token: 'hunter2' }
    log.info(secrets, 'flat')
    log.info({ login: secrets, deep: { er: secrets } }, 'nested')
    log.info({ login: { password: Buffer.from('hunter2') } }, 'bytes')
    log.child(secrets).info({}, 'of a child')
    expect(lines, format).toHaveLength(4)
    expect(lines.join('')).not.toMatch(/hunter2|104,117,110/)
    expect(lines[0]).toContain('******')
  }
})

test('only a bug is written with its stack', () => {
  for (const format of FORMATS) {
    const { log, lines } = startLog({ format })
    const cause = new Error('connect ECONNREFUSED')
    log.warn({ error: new BrokerError('BACKEND_FAILED', 'no answer', { cause }) }, 'backend')
    log.error({ err: new TypeError('x is undefined', { cause }) }, 'bug')
    expect(lines[0]).toContain('BACKEND_FAILED: no answer, caused by: connect ECONNREFUSED')
    expect(lines[0]).not.toContain('log.test.ts')
    expect(lines[1]).toMatch(
      /TypeError: x is undefined.*log\.test\.ts.*caused by: Error: connect ECONNREFUSED/,
    )
  }
})

test('an event is one line, whatever a peer put into it', () => {
  for (const format of FORMATS) {
    const { log, lines } = startLog({ format })
    log.info({ client: 'a\nINFO: forged', topic: 'b\u001b[31m\u2028\u0085' }, 'client\nconnected')
    expect(lines, format).toHaveLength(1)
    expect(lines[0]?.trimEnd(), format).not.toContain('\n')
    if (format === 'text') expect(lines[0]?.trimEnd()).not.toMatch(/\p{C}/u)
  }
})

test('bytes are counted, not written', () => {
  const { log, lines } = startLog()
  log.info({ payload: new Uint8Array(4096), id: 5n }, 'received')
  expect(parse(lines[0])).toMatchObject({ payload: '<4096 bytes>', id: '5' })
})

test('a file is appended to at once, and opened anew after it was renamed', () => {
  const file = join(temporaryDirectory(), 'log', 'hubbub.log')
  for (const format of FORMATS) createLog({ level: 'info', format, file }).info({}, `in ${format}`)
  expect(readFileSync(file, 'utf8')).toMatch(/in text\n.*in json.*\n$/)

  const log = createLog({ level: 'info', format: 'text', file })
  renameSync(file, `${file}.1`)
  log.info({}, 'old place')
  log.reopen()
  log.info({}, 'new place')
  expect(readFileSync(`${file}.1`, 'utf8')).toContain('old place')
  expect(existsSync(file) && readFileSync(file, 'utf8')).toMatch(/^\S+ INFO: new place\n$/)
})
