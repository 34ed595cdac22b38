import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { UserTable } from '../../authn/built-in-table.ts'
import { type ScramConfig, ScramDatabase } from '../../authn/scram/built-in.ts'
import { ScramConversation } from '../../authn/scram/conversation.ts'
import { credentialOf, formatCredential, parseCredential } from '../../authn/scram/credential.ts'
import { parseClientFirst } from '../../authn/scram/messages.ts'
import { saslPrep } from '../../authn/scram/saslprep.ts'
import { WorkGate } from '../../authn/work-gate.ts'
import type { Verdict } from '../../model/access.ts'
import { silentLogger } from '../../model/log.ts'
import { IGNORE, loginOf, NOT_AUTHORIZED, recordingLog, temporaryDir } from './fixtures.ts'
import { ScramClient, type ScramOptions } from './scram-client.ts'

const NEVER = new AbortController().signal

async function database(
  fields: Partial<ScramConfig> = {},
  options: { dir?: string; users?: UserTable } = {},
) {
  const { log, lines } = recordingLog()
  const dataDir = options.dir ?? temporaryDir()
  const config: ScramConfig = {
    mechanism: 'scram',
    backend: 'built_in_database',
    enable: true,
    timeout: 5000,
    algorithm: 'sha256',
    iteration_count: 4096,
    ...fields,
  }
  const context = { log, dataDir, configDir: dataDir, chain: 'mqtt:global', hashing: new WorkGate() }
  const opened = await ScramDatabase.open(config, { ...context, users: options.users }, { watch: false })
  onTestFinished(() => opened.close())
  return { opened, users: opened.users, lines, dataDir }
}

type Opened = Awaited<ReturnType<typeof database>>['opened']

function begin(opened: Opened, message: string | Uint8Array | undefined, method = 'SCRAM-SHA-256') {
  const authData = message === undefined ? undefined : Buffer.from(message)
  const verdict = opened.authenticate(loginOf({ authMethod: method, authData, password: undefined }))
  const answer = async (reply: string | undefined): Promise<Verdict> => {
    if (verdict.kind !== 'continue') throw new Error(`there is nothing to answer: ${verdict.kind}`)
    return verdict.exchange.next(reply === undefined ? undefined : Buffer.from(reply), NEVER)
  }
  const challenge = verdict.kind === 'continue' ? String(verdict.data) : ''
  return { verdict, challenge, answer }
}

/** A whole login; `tamper` changes the final message. */
async function logIn(opened: Opened, options: Partial<ScramOptions> = {}, tamper = (final: string) => final) {
  const client = new ScramClient({ username: 'user', password: 'pencil', nonce: 'abc', ...options })
  const { challenge, answer } = begin(opened, client.first(), client.method)
  const verdict = await answer(tamper(client.final(challenge)))
  const said = verdict.kind === 'allow' ? String(verdict.data) : undefined
  return { verdict, isProved: said !== undefined && client.accepts(said) }
}

test('the conversation of RFC 7677 comes out byte by byte', async () => {
  const credential = await credentialOf('pencil', {
    hash: 'sha256',
    iterations: 4096,
    salt: Buffer.from('W22ZaJ0SNY7soEsUEjb6gQ==', 'base64'),
  })
  const first = parseClientFirst(Buffer.from('n,,n=user,r=rOprNGfwEbeRWgbNEkqO'))
  const known = { credential, principal: { isSuperuser: false, username: 'user' } }
  const conversation = new ScramConversation(first, known, '%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0', () => {})
  const nonce = 'rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0'
  expect(String(conversation.challenge)).toBe(`r=${nonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096`)
  const final = `c=biws,r=${nonce},p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=`
  expect(conversation.next(Buffer.from(final))).toEqual({
    kind: 'allow',
    principal: known.principal,
    data: Buffer.from('v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4='),
  })
})

test('the client of these tests does the conversation of RFC 7677 too', () => {
  const client = new ScramClient({ username: 'user', password: 'pencil', nonce: 'rOprNGfwEbeRWgbNEkqO' })
  const nonce = 'rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0'
  const final = client.final(`r=${nonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096`)
  expect(final).toBe(`c=biws,r=${nonce},p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=`)
  expect(client.accepts('v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=')).toBe(true)
})

test.each(['sha256', 'sha512'] as const)(
  'with %s the right password gets in, and the broker proves itself',
  async (hash) => {
    const { opened, users } = await database({ algorithm: hash, iteration_count: 5000 })
    await users.add({ userId: 'user', password: 'pencil' })
    await users.add({ userId: 'boss', password: 'pen', isSuperuser: true })
    expect(await logIn(opened, { hash })).toMatchObject({
      verdict: { kind: 'allow', principal: { isSuperuser: false, username: 'user' } },
      isProved: true,
    })
    const boss = await logIn(opened, { hash, username: 'boss', password: 'pen' })
    expect(boss.verdict).toMatchObject({ principal: { isSuperuser: true, username: 'boss' } })
    expect((await logIn(opened, { hash, password: 'pencils' })).verdict).toEqual(NOT_AUTHORIZED)
    expect((await logIn(opened, { hash, header: 'y,,' })).isProved).toBe(true)
    expect((await logIn(opened, { hash, header: 'n,a=user,' })).isProved).toBe(true)
  },
)

test('a stranger is asked like everybody else, with the same salt each time, and refused', async () => {
  const { opened, users, lines } = await database()
  await users.add({ userId: 'user', password: 'pencil' })
  const saltOf = (name: string) => /,s=([^,]+),i=4096$/.exec(begin(opened, `n,,n=${name},r=x`).challenge)?.[1]
  expect(Buffer.from(saltOf('nobody') ?? '', 'base64')).toHaveLength(16)
  expect(saltOf('nobody')).toBe(saltOf('nobody'))
  expect(saltOf('nobody')).not.toBe(saltOf('somebody'))
  expect((await logIn(opened, { username: 'nobody' })).verdict).toEqual(NOT_AUTHORIZED)
  expect(lines.at(-1)).toMatchObject({ level: 'debug', text: 'login refused: there is no such user' })
})

test('other methods are for others', async () => {
  const { opened } = await database()
  expect(begin(opened, 'n,,n=user,r=abc', 'SCRAM-SHA-512').verdict).toEqual(IGNORE)
  expect(begin(opened, 'n,,n=user,r=abc', 'SCRAM-SHA-256-PLUS').verdict).toEqual(IGNORE)
  expect(opened.authenticate(loginOf())).toEqual(IGNORE)
})

test.each([
  ['no message', undefined],
  ['an empty one', ''],
  ['no nonce', 'n,,n=user'],
  ['an empty nonce', 'n,,n=user,r='],
  ['a nonce with a space', 'n,,n=user,r=a b'],
  ['no name', 'n,,n=,r=abc'],
  ['no header', 'n=user,r=abc'],
  ['channel binding', 'p=tls-unique,,n=user,r=abc'],
  ['an unknown flag', 'x,,n=user,r=abc'],
  ['an extension that must be understood', 'n,,m=it,n=user,r=abc'],
  ['a stray =', 'n,,n=us=er,r=abc'],
  ['somebody else', 'n,a=admin,n=user,r=abc'],
  ['bytes that are no text', Buffer.from('n,,n=\xff\xfe,r=abc', 'latin1')],
  ['64 KB', `n,,n=user,r=${'a'.repeat(65_000)}`],
])('a first message with %s is refused', async (_, message) => {
  const { opened, users, lines } = await database()
  await users.add({ userId: 'user', password: 'pencil' })
  expect(begin(opened, message).verdict).toEqual(NOT_AUTHORIZED)
  expect(lines.at(-1)).toMatchObject({
    level: 'debug',
    text: expect.stringMatching(/^login refused: SCRAM: /),
  })
  expect(JSON.stringify(lines.at(-1)).length).toBeLessThan(200)
})

test.each<[string, (final: string) => string, string]>([
  ['none', () => '', 'the final message is malformed'],
  ['no proof', (final) => final.replace(/,p=.*/, ''), 'the final message is malformed'],
  ['a proof that is no base64', (final) => final.replace(/,p=.*/, ',p=abc'), 'base64 is malformed'],
  ['a short proof', (final) => final.replace(/,p=.*/, ',p=AAAA'), 'the proof is wrong'],
  ['a long proof', (final) => final.replace(/,p=.*/, `,p=${'A'.repeat(88)}`), 'the proof is wrong'],
  ['the client nonce alone', (final) => final.replace(/r=[^,]*/, 'r=abc'), 'the nonce is not ours'],
  ['a nonce with more behind it', (final) => final.replace(/(r=[^,]*)/, '$1x'), 'the nonce is not ours'],
  ['another channel binding', (final) => final.replace('c=biws', 'c=eSws'), 'the channel binding differs'],
  [
    'another order',
    (final) => final.replace(/^(c=[^,]*),(r=[^,]*)/, '$2,$1'),
    'the final message is malformed',
  ],
  [
    '64 KB',
    (final) => `${final.replace(/,p=.*/, '')},x=${'a'.repeat(65_000)},p=AAAA`,
    'the message is too long',
  ],
])('a final message with %s is refused', async (_, tamper, why) => {
  const { opened, users, lines } = await database()
  await users.add({ userId: 'user', password: 'pencil' })
  expect((await logIn(opened, {}, tamper)).verdict).toEqual(NOT_AUTHORIZED)
  expect(lines.at(-1)?.text).toContain(why)
  expect(JSON.stringify(lines)).not.toMatch(/p=|pencil|AAAA/)
})

test('a conversation that was listened to is of no use a second time', async () => {
  const { opened, users, lines } = await database()
  await users.add({ userId: 'user', password: 'pencil' })
  const client = new ScramClient({ username: 'user', password: 'pencil', nonce: 'abc' })
  const first = begin(opened, client.first())
  const final = client.final(first.challenge)
  expect((await first.answer(final)).kind).toBe('allow')
  expect(await first.answer(final)).toEqual(NOT_AUTHORIZED)
  const again = begin(opened, client.first())
  expect(again.challenge).not.toBe(first.challenge)
  expect(await again.answer(final)).toEqual(NOT_AUTHORIZED)
  expect(lines.map(({ text }) => text)).toEqual([
    'login refused: its exchange is over',
    'login refused: the nonce is not ours',
  ])
})

test('extensions that nobody must understand are part of what is signed', async () => {
  const { opened, users } = await database()
  await users.add({ userId: 'user', password: 'pencil' })
  const { verdict } = await logIn(opened, {}, (final) => final.replace(',p=', ',x=1,p='))
  expect(verdict).toEqual(NOT_AUTHORIZED)
  expect(begin(opened, 'n,,n=user,r=abc,x=1').verdict.kind).toBe('continue')
})

test('names with commas, and names and passwords that look the same, work', async () => {
  const { opened, users } = await database()
  await users.add({ userId: 'a=b,c', password: 'pass\u00A0word' })
  await users.add({ userId: '\u2168', password: '\uFB01sh' }) // the sign IX; a ligature
  expect((await logIn(opened, { username: 'a=b,c', password: 'pass word' })).isProved).toBe(true)
  expect((await logIn(opened, { username: 'IX', password: 'fish' })).isProved).toBe(true)
  expect((await logIn(opened, { username: '\u2168', password: 'fish' })).verdict).toMatchObject({
    principal: { username: 'IX' },
  })
  expect(users.get('\u2168')).toEqual({ userId: 'IX', isSuperuser: false })
  await expect(users.add({ userId: 'x', password: 'a\u0007b' })).rejects.toThrow('SCRAM does not allow')
  await expect(users.add({ userId: 'a\u0000b', password: 'x' })).rejects.toThrow('SCRAM does not allow')
  expect(await users.delete('IX')).toBe(true)
})

// RFC 4013 §3
test.each([
  ['I\u00ADX', 'IX'],
  ['user', 'user'],
  ['USER', 'USER'],
  ['\u00AA', 'a'],
  ['\u2168', 'IX'],
  ['\u0007', undefined],
  ['', undefined],
  ['\u00AD', undefined],
  ['\uD800', undefined],
])('SASLprep makes of %j %j', (text, prepared) => {
  expect(saslPrep(text)).toBe(prepared)
})

test('of a password nothing is kept that could be used to log in', async () => {
  const { opened, users, dataDir } = await database()
  await users.add({ userId: 'user', password: 'pencil' })
  opened.close()
  const [file, ...others] = readdirSync(join(dataDir, 'authn'))
  expect([file, others]).toEqual(['mqtt.global.scram.json', []])
  const text = readFileSync(join(dataDir, 'authn', 'mqtt.global.scram.json'), 'utf8')
  expect(text).toMatch(/"SCRAM-SHA-256\$4096:[\w+/=]{24}\$[\w+/=]{44}:[\w+/=]{44}"/)
  const again = await database({}, { dir: dataDir })
  expect((await logIn(again.opened)).isProved).toBe(true)
  // Of another algorithm: as if it were not there.
  const other = await database({ algorithm: 'sha512' }, { dir: dataDir })
  expect((await logIn(other.opened, { hash: 'sha512' })).verdict).toEqual(NOT_AUTHORIZED)
})

test('in the storage its users are others than those with passwords', async () => {
  const records = new Map<string, Uint8Array>()
  const storage = {
    unsafe: undefined,
    table: () => ({
      async *load() {
        yield* records
      },
      put: (key: string, value: Uint8Array) => void records.set(key, value),
      delete: (key: string) => void records.delete(key),
    }),
  }
  const users = await UserTable.load(storage, silentLogger)
  const { users: scram } = await database({}, { users })
  await scram.add({ userId: 'user', password: 'pencil', isSuperuser: true })
  expect([...records.keys()]).toEqual(['secret scram', 'scram mqtt:global user'])
  const reread = await UserTable.load(storage, silentLogger)
  expect(reread.chain('mqtt:global').size).toBe(0)
  const { opened } = await database({}, { users: reread })
  expect((await logIn(opened)).isProved).toBe(true)
  // A stranger's salt stays the same, as everybody's does.
  const before = await database({}, { users })
  const saltOf = (one: Opened) => begin(one, 'n,,n=nobody,r=x').challenge.split(',')[1]
  expect(saltOf(opened)).toBe(saltOf(before.opened))
})

test('hashes are taken over from elsewhere if they are of its form', async () => {
  const { opened, users } = await database()
  const credential = await credentialOf('pencil', {
    hash: 'sha256',
    iterations: 4096,
    salt: Buffer.from('salt'),
  })
  const user = (hash: string) =>
    ({
      userId: 'user',
      isSuperuser: false,
      secret: { kind: 'hash', hash, salt: '' },
      where: 'line 2',
    }) as const
  await expect(users.import([user('c0ffee')], { override: false })).rejects.toThrow(
    'line 2: password_hash is not SCRAM-SHA-256$iterations:salt',
  )
  await users.import([user(formatCredential(credential))], { override: false })
  expect((await logIn(opened)).isProved).toBe(true)
  expect(parseCredential(formatCredential(credential))).toEqual(credential)
})

test('a gateway has no use for it', async () => {
  const dir = temporaryDir()
  const context = { log: silentLogger, dataDir: dir, configDir: dir, hashing: new WorkGate() }
  const config: ScramConfig = {
    mechanism: 'scram',
    backend: 'built_in_database',
    enable: true,
    timeout: 5000,
    algorithm: 'sha256',
    iteration_count: 4096,
  }
  for (const chain of ['stomp:global', 'stomp:tcp:default']) {
    await expect(ScramDatabase.open(config, { ...context, chain })).rejects.toThrow('for MQTT clients only')
  }
})
