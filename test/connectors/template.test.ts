import { expect, test } from 'vitest'
import { compileFilter } from '../../connectors/filter-template.ts'
import { redact } from '../../connectors/redact.ts'
import { compileSql } from '../../connectors/sql-template.ts'
import { compileCommand, compileDn, compileLdapFilter, compileText } from '../../connectors/template.ts'
import { AUTHZ_HTTP_PLACEHOLDERS, clientValues } from '../../connectors/variables.ts'
import { clientInfo } from '../support/client-info.ts'
import { ALLOWED, valuesOf } from './support.ts'

const ALICE = valuesOf({ username: 'alice', clientid: 'meter-7', 'client_attrs.site': 'north' })

test('values stand where their placeholders are, and nothing for those that a client lacks', () => {
  const template = compileText('<${username}|${.clientid}|${client_attrs.site}|${zone}|${$}{x}>', ALLOWED)
  expect(template.render(ALICE)).toBe('<alice|meter-7|north||${x}>')
  expect(template.names).toEqual(['username', 'clientid', 'client_attrs.site', 'zone'])
})

test('placeholders that are not allowed stay as they are, and are told', () => {
  const unknown: string[] = []
  const template = compileText('${topic} ${username} ${client_attrs.}', {
    ...ALLOWED,
    onUnknown: (placeholder) => unknown.push(placeholder),
  })
  expect(template.render(ALICE)).toBe('${topic} alice ${client_attrs.}')
  expect(unknown).toEqual(['${topic}', '${client_attrs.}'])
})

test('a value that looks like a placeholder is a value', () => {
  expect(
    compileText('${username}', ALLOWED).render(valuesOf({ username: '${password}', password: 'p' })),
  ).toBe('${password}')
})

test.each([
  ['mysql', 'SELECT a FROM b WHERE u = ? AND c = ? AND d = ?'],
  ['postgresql', 'SELECT a FROM b WHERE u = $1 AND c = $2 AND d = $3'],
] as const)('placeholders of %s are parameters, with and without quotes', (dialect, text) => {
  const sql = 'SELECT a FROM b WHERE u = ${username} AND c = "${clientid}" AND d = \'${username}\'; '
  const template = compileSql(sql, dialect, ALLOWED)
  expect(template.text).toBe(text)
  expect(template.names).toEqual(['username', 'clientid'])
  expect(template.render(ALICE)).toEqual(['alice', 'meter-7', 'alice'])
  expect(template.pieces).toHaveLength(4)
})

test('texts of a statement that hold no placeholder stay', () => {
  const mysql = "SELECT 'it''s ?; \\' $1', `a;b`, \"${$}x\" /* ? */ FROM t -- ? why"
  expect(compileSql(mysql, 'mysql', ALLOWED).text).toBe(mysql.replace('${$}', '$'))
  const postgresql = "SELECT E'\\'?;', 'back\\', \"a;b\", $tag$ ; ' $tag$, a ? b FROM t"
  expect(compileSql(postgresql, 'postgresql', ALLOWED).text).toBe(postgresql)
})

test.each([
  ['mysql', 'SELECT 1; SELECT 2', 'more than one statement'],
  ['mysql', "SELECT '%${username}%'", 'placeholder inside'],
  ['postgresql', "SELECT E'${username}'", 'placeholder inside'],
  ['postgresql', 'SELECT $$${username}$$', 'placeholder inside'],
  ['mysql', 'SELECT 1 -- ${username}', 'placeholder in a comment'],
  ['mysql', 'SELECT 1 # ${username}', 'placeholder in a comment'],
  ['postgresql', 'SELECT /* ${username} */ 1', 'placeholder in a comment'],
  ['mysql', 'SELECT ? FROM t WHERE a = ${username}', 'parameters of its own'],
  ['postgresql', 'SELECT $1 FROM t', 'parameters of its own'],
  ['mysql', "SELECT 'open FROM t WHERE a = ${username}", 'quotes that do not end'],
] as const)('%s refuses %s', (dialect, sql, text) => {
  expect(() => compileSql(sql, dialect, ALLOWED)).toThrow(text)
})

test('words of a command stay arguments', () => {
  const template = compileCommand('HMGET "mqtt user:${username}" \'a b\' "\\x41\\n\\""  salt ', ALLOWED)
  expect(template.words).toEqual(['HMGET', 'mqtt user:${username}', 'a b', 'A\n"', 'salt'])
  expect(template.render(valuesOf({ username: 'x "y" z\r\nDEL a' }))[1]).toBe('mqtt user:x "y" z\r\nDEL a')
  expect(template.names).toEqual(['username'])
  for (const wrong of ['HGET "a', "HGET 'a", 'HGET "a"b c'])
    expect(() => compileCommand(wrong, ALLOWED), wrong).toThrow('quotes of the command')
})

test('values in LDAP filters and names are escaped', () => {
  const nasty = valuesOf({ username: ' #a*(b)\\\0,+"<>;= ' })
  expect(compileLdapFilter('(uid=${username})', ALLOWED).render(nasty)).toBe(
    '(uid= #a\\2a\\28b\\29\\5c\\00,+"<>;= )',
  )
  expect(compileDn('uid=${username},dc=org', ALLOWED).render(nasty)).toBe(
    'uid=\\20\\23a*(b)\\5c\\00\\2c\\2b\\22\\3c\\3e\\3b\\3d\\20,dc=org',
  )
})

test('values in MongoDB filters are texts, in patterns and expressions too', () => {
  const render = (filter: Record<string, unknown>) =>
    compileFilter(filter, ALLOWED).render(valuesOf({ username: '$a.*' }))
  expect(render({ a: '${username}', b: { $in: ['${username}', 1, null] }, n: 3 })).toEqual({
    a: '$a.*',
    b: { $in: ['$a.*', 1, null] },
    n: 3,
  })
  expect(render({ a: { $regex: '^x${username}$', $options: 'i' } })).toEqual({
    a: { $regex: '^x\\$a\\.\\*$', $options: 'i' },
  })
  expect(render({ $expr: { $eq: ['$a', '${username}'] } })).toEqual({
    $expr: { $eq: ['$a', { $literal: '$a.*' }] },
  })
  expect(render({ $expr: { $regexMatch: { input: '$a', regex: '${username}' } } })).toEqual({
    $expr: { $regexMatch: { input: '$a', regex: { $literal: '\\$a\\.\\*' } } },
  })
})

test.each([
  [{ $where: 'this.a == "${username}"' }],
  [{ $or: [{ $where: '${username}' }] }],
  [{ $expr: { $function: { body: 'x', args: ['${username}'], lang: 'js' } } }],
  [{ $text: { $search: '${username}' } }],
  [{ a: { $regex: 'x', $options: '${username}' } }],
  [{ '${username}': 1 }],
])('placeholders are refused in %j', (filter) => {
  expect(() => compileFilter(filter, ALLOWED)).toThrow('has a placeholder in')
})

test('a filter cannot be nested without end', () => {
  let filter: Record<string, unknown> = { a: '${username}' }
  for (let i = 0; i < 100; i++) filter = { $and: [filter] }
  expect(() => compileFilter(filter, ALLOWED)).toThrow('nested too deeply')
})

test('a client gives its values', () => {
  const client = clientInfo('meter-7', {
    username: 'alice',
    peerHost: '::1',
    peerPort: 4711,
    certificate: { subject: 'CN=m,O=x', commonName: 'm', raw: new Uint8Array([1, 2]) },
    attributes: new Map([['site', 'north']]),
    zone: 'z',
    listener: 'tcp:default',
  })
  const password = Buffer.from('pässword')
  const action = { kind: 'publish', qos: 1, retain: true } as const
  const values = clientValues(client, { password, action, topic: 'a/b' })
  const all = [...AUTHZ_HTTP_PLACEHOLDERS, 'password', 'client_attrs.site', 'client_attrs.none']
  expect(Object.fromEntries(all.map((name) => [name, values(name)]))).toMatchObject({
    username: 'alice',
    clientid: 'meter-7',
    peerhost: '::1',
    peerport: '4711',
    peername: '[::1]:4711',
    cert_subject: 'CN=m,O=x',
    cert_common_name: 'm',
    cert_pem: 'AQI=',
    zone: 'z',
    listener: 'tcp:default',
    topic: 'a/b',
    action: 'publish',
    access: '2',
    qos: '1',
    retain: 'true',
    password: 'pässword',
    'client_attrs.site': 'north',
    'client_attrs.none': undefined,
  })
  expect(clientValues(client)('topic')).toBeUndefined()
})

test('secrets are taken out of texts, short ones only where they stand alone', () => {
  expect(redact('access denied with swordfish123', ['swordfish'])).toBe('access denied with ***123')
  expect(redact('a value of a table is a', ['a', undefined, ''])).toBe('*** value of *** table is ***')
  expect(redact('x: longer-secret', ['longer', 'longer-secret'])).toBe('x: ***')
})
