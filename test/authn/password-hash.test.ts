import { createHmac } from 'node:crypto'
import { expect, test } from 'vitest'
import { type HashAlgorithm, PasswordHasher, type SaltPosition } from '../../authn/password-hash.ts'
import { WorkGate } from '../../authn/work-gate.ts'

const make = (algorithm: HashAlgorithm) => PasswordHasher.create(algorithm, new WorkGate())
const pbkdf2 = (fields: Partial<Extract<HashAlgorithm, { name: 'pbkdf2' }>>): HashAlgorithm => ({
  name: 'pbkdf2',
  macFun: 'sha',
  iterations: 1,
  dkLength: undefined,
  ...fields,
})
const simple = (
  name: 'plain' | 'md5' | 'sha' | 'sha256' | 'sha512',
  saltPosition: SaltPosition,
): HashAlgorithm => ({
  name,
  saltPosition,
})

/** Digests by coreutils, PBKDF2 from RFC 6070 and RFC 7914, bcrypt from jBCrypt's tests. */
const VECTORS: [string, HashAlgorithm, password: string, hash: string, salt: string][] = [
  ['plain', simple('plain', 'disable'), 'password', 'password', ''],
  ['plain, salt before', simple('plain', 'prefix'), 'password', 'saltpassword', 'salt'],
  ['plain, salt after', simple('plain', 'suffix'), 'password', 'passwordsalt', 'salt'],
  ['md5', simple('md5', 'disable'), 'password', '5f4dcc3b5aa765d61d8327deb882cf99', ''],
  ['sha', simple('sha', 'disable'), 'password', '5baa61e4c9b93f3f0682250b6cf8331b7ee68fd8', 'not used'],
  [
    'sha256',
    simple('sha256', 'disable'),
    'password',
    '5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8',
    '',
  ],
  [
    'sha512',
    simple('sha512', 'disable'),
    'password',
    'b109f3bbbc244eb82441917ed06d618b9008dd09b3befd1b5e07394c706a8bb980b1d7785e5976ec049b46df5f1326af5a2ea6d103fd07c95385ffab0cacbc86',
    '',
  ],
  [
    'sha256, salt before',
    simple('sha256', 'prefix'),
    'password',
    '13601bda4ea78e55a07b98866d2be6be0744e3866f13c00c811cab608a28f322',
    'salt',
  ],
  [
    'sha256, salt after, in capitals',
    simple('sha256', 'suffix'),
    'password',
    '7A37B85C8918EAC19A9089C0FA5A2AB4DCE3F90528DCDEEC108B23DDF3607B99',
    'salt',
  ],
  ['pbkdf2 sha, 1 round', pbkdf2({}), 'password', '0c60c80f961f0e71f3a9b524af6012062fe037a6', 'salt'],
  [
    'pbkdf2 sha, 4096 rounds',
    pbkdf2({ iterations: 4096 }),
    'password',
    '4B007901b765489abead49d926f721d065a429c1',
    'salt',
  ],
  [
    'pbkdf2 sha, 25 bytes',
    pbkdf2({ iterations: 4096, dkLength: 25 }),
    'passwordPASSWORDpassword',
    '3d2eec4fe41c849b80c8d83662c0e44a8b291a964cf2f07038',
    'saltSALTsaltSALTsaltSALTsaltSALTsalt',
  ],
  [
    'pbkdf2 sha256',
    pbkdf2({ macFun: 'sha256', dkLength: 64 }),
    'passwd',
    '55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc49ca9cccf179b645991664b39d77ef317c71b845b1e30bd509112041d3a19783',
    'salt',
  ],
  [
    'bcrypt, empty',
    { name: 'bcrypt', saltRounds: 6 },
    '',
    '$2a$06$DCq7YPn5Rq63x1Lad4cll.TV4S6ytwfsfvkgY8jIucDrjc8deX1s.',
    '',
  ],
  [
    'bcrypt',
    { name: 'bcrypt', saltRounds: 10 },
    'abc',
    '$2a$06$If6bvum7DFjUnE9p2uDeDu0YHzrHM6tf.iqN8.yx.jNN1ILEf7h0i',
    'ignored',
  ],
]

test.each(VECTORS)('known vector: %s', async (_, algorithm, password, hash, salt) => {
  const hasher = await make(algorithm)
  expect(await hasher.verify(Buffer.from(password), { hash, salt })).toBe(true)
  expect(await hasher.verify(Buffer.from(`${password}x`), { hash, salt })).toBe(false)
  expect(hasher.problemWith(hash)).toBeUndefined()
})

const EVERY: [string, HashAlgorithm][] = [
  ...(['plain', 'md5', 'sha', 'sha256', 'sha512'] as const).flatMap((name) =>
    (['disable', 'prefix', 'suffix'] as const).map((p): [string, HashAlgorithm] => [
      `${name} ${p}`,
      simple(name, p),
    ]),
  ),
  ['bcrypt', { name: 'bcrypt', saltRounds: 5 }],
  ...(['sha', 'sha224', 'sha256', 'sha384', 'sha512'] as const).map((macFun): [string, HashAlgorithm] => [
    `pbkdf2 ${macFun}`,
    pbkdf2({ macFun, iterations: 10 }),
  ]),
  ['pbkdf2 md5', pbkdf2({ macFun: 'md5', dkLength: 16 })],
]

test.each(EVERY)(
  'a new password with %s is known again, another is not, and no two hashes are alike',
  async (name, algorithm) => {
    const hasher = await make(algorithm)
    const password = Buffer.from('pässwörd \u0001')
    const stored = await hasher.hash(password)
    expect(hasher.problemWith(stored.hash)).toBeUndefined()
    expect(await hasher.verify(password, stored)).toBe(true)
    expect(await hasher.verify(Buffer.from('Pässwörd \u0001'), stored)).toBe(false)
    expect(await hasher.verify(Buffer.alloc(0), stored)).toBe(false)
    expect(await hasher.verifyNobody(password)).toBe(false)
    const isSalted = !/disable|plain/.test(name)
    expect((await hasher.hash(password)).hash === stored.hash).toBe(!isSalted)
    if (isSalted && algorithm.name !== 'bcrypt') expect(stored.salt).toMatch(/^[0-9a-f]{32}$/)
    else expect(stored.salt).toBe('')
  },
)

test('fast hashes answer at once, slow ones never on the event loop', async () => {
  const fast = await make(simple('sha256', 'prefix'))
  expect(fast.verify(Buffer.from('x'), { hash: '', salt: '' })).toBe(false)
  for (const algorithm of [pbkdf2({}), { name: 'bcrypt', saltRounds: 5 } as const]) {
    const slow = await make(algorithm)
    expect(slow.verify(Buffer.from('x'), { hash: '', salt: '' })).toBeInstanceOf(Promise)
  }
})

test('hashes of another form fit no password', async () => {
  for (const [, algorithm] of EVERY) {
    const hasher = await make(algorithm)
    for (const hash of ['', 'zz', '$2b$10$short', '5e88']) {
      expect(await hasher.verify(Buffer.from('password'), { hash, salt: '' })).toBe(false)
    }
  }
})

test.each<[HashAlgorithm, string, RegExp]>([
  [simple('sha256', 'prefix'), 'abcd', /64 hex digits/],
  [simple('md5', 'prefix'), 'g'.repeat(32), /32 hex digits/],
  [simple('plain', 'disable'), '', /empty/],
  [{ name: 'bcrypt', saltRounds: 5 }, '$1$abc', /bcrypt/],
  [pbkdf2({ dkLength: 8 }), 'ab'.repeat(9), /16 hex digits/],
])('an imported hash of the wrong form is told: %j', async (algorithm, hash, problem) => {
  expect((await make(algorithm)).problemWith(hash)).toMatch(problem)
})

test.each(['md4', 'md5', 'ripemd160'] as const)(
  'pbkdf2 with %s needs a key length, and a library that has it',
  async (macFun) => {
    await expect(make(pbkdf2({ macFun }))).rejects.toThrow(/dk_length|not available/)
    let isThere = true
    try {
      createHmac(macFun, 'x')
    } catch {
      isThere = false
    }
    const hasher = make(pbkdf2({ macFun, dkLength: 16 }))
    if (isThere) expect(await (await hasher).verifyNobody(Buffer.from('x'))).toBe(false)
    else await expect(hasher).rejects.toThrow(`mac_fun ${macFun} is not available`)
  },
)

test('bcrypt refuses a new password it would cut', async () => {
  const hasher = await make({ name: 'bcrypt', saltRounds: 5 })
  expect(() => hasher.hash('x'.repeat(73))).toThrow(/72 bytes/)
  await expect(hasher.hash('x'.repeat(72))).resolves.toBeDefined()
})

test('the gate runs a few at a time, the others in order', async () => {
  const gate = new WorkGate({ maxRunning: 2 })
  const started: number[] = []
  const releases: (() => void)[] = []
  const work = [0, 1, 2, 3].map((n) =>
    gate.run(() => {
      started.push(n)
      return new Promise<void>((resolve) => releases.push(resolve))
    }),
  )
  expect(started).toEqual([0, 1])
  releases[0]?.()
  await work[0]
  await expect.poll(() => started, { timeout: 10_000 }).toEqual([0, 1, 2])
  releases[1]?.()
  releases[2]?.()
  await expect.poll(() => started, { timeout: 10_000 }).toEqual([0, 1, 2, 3])
  releases[3]?.()
  await Promise.all(work)
})

test('who gives up gives up the place in the queue, and the queue has an end', async () => {
  const gate = new WorkGate({ maxRunning: 1, maxWaiting: 2 })
  let release = (): void => {}
  const first = gate.run(() => new Promise<void>((resolve) => (release = resolve)))
  const impatient = new AbortController()
  const given = gate.run(async () => 'never', impatient.signal)
  const patient = gate.run(async () => 'done')
  await expect(gate.run(async () => 'too many')).rejects.toThrow(/too many/)
  impatient.abort()
  await expect(given).rejects.toThrow(/given up/)
  await expect(gate.run(async () => 'late', AbortSignal.abort())).rejects.toThrow(/given up/)
  release()
  expect(await patient).toBe('done')
  await first
  expect(await gate.run(async () => 'again')).toBe('again')
})

test('work that fails passes its place on', async () => {
  const gate = new WorkGate({ maxRunning: 1 })
  await expect(gate.run(() => Promise.reject(new Error('x')))).rejects.toThrow('x')
  expect(await gate.run(async () => 1)).toBe(1)
})

test('a stranger costs what users of an existing table cost, whatever new hashes would', async () => {
  const hasher = await make({ name: 'bcrypt', saltRounds: 5 })
  const costly = await (await make({ name: 'bcrypt', saltRounds: 9 })).hash('secret')
  const password = Buffer.from('wrong')
  const timed = async () => {
    const times: number[] = []
    for (let i = 0; i < 3; i++) {
      const startMs = performance.now()
      expect(await hasher.verifyNobody(password)).toBe(false)
      times.push(performance.now() - startMs)
    }
    return Math.min(...times)
  }
  const before = await timed()
  expect(await hasher.verify(password, costly)).toBe(false)

  expect(await timed()).toBeGreaterThan(4 * before) // sixteen times the work
})
