// biome-ignore-all lint/suspicious/noTemplateCurlyInString: placeholders as operators write them
/** What the official clients do not do of themselves: raw bytes over real sockets, and the broker's own means against NATS clients. */
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { connect as dial, type Socket } from 'node:net'
import { join } from 'node:path'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { headers, jwtAuthenticator, type NatsConnection, nkeys } from '@nats-io/transport-node'
import { expect, onTestFinished, test } from 'vitest'
import { WebSocket } from 'ws'
import { temporaryDirectory } from '../config/sample.ts'
import { hookRun } from '../support/broker.ts'
import { within } from '../support/inbox.ts'
import { Random } from '../support/random.ts'
import { connectMqtt } from './mqtt-peer.ts'
import { connectNats, listen, natsPort, startNatsBroker } from './nats-peer.ts'

const QUIET = 'CONNECT {"verbose":false,"headers":true,"no_responders":true}\r\n'

/** A client that says bytes. */
class RawNats {
  readonly socket: Socket
  /** All that has come but INFO. */
  text = ''
  isClosed = false
  #seen: () => void = () => {}

  /** @param from - the address it comes from */
  constructor(port: number, from = '127.0.0.1') {
    this.socket = dial({ port, host: '127.0.0.1', localAddress: from })
    this.socket.on('error', () => {})
    this.socket.on('data', (chunk) => {
      this.text = (this.text + chunk.toString()).replace(/^INFO .*\r\n/, '')
      this.#seen()
    })
    this.socket.on('close', () => {
      this.isClosed = true
      this.#seen()
    })
    onTestFinished(() => void this.socket.destroy())
  }

  /** Says it, and a PING. @returns what came up to the PONG, or to the end of the connection */
  async ask(bytes: string | Uint8Array): Promise<string> {
    this.socket.write(bytes)
    this.socket.write('PING\r\n')
    return this.until('PONG\r\n')
  }

  /** What came until then, `end` left out. */
  async until(end: string): Promise<string> {
    await within(
      new Promise<void>((resolve) => {
        this.#seen = () => {
          if (this.text.includes(end) || this.isClosed) resolve()
        }
        this.#seen()
      }),
      `${end} after ${this.text.slice(0, 200)}`,
    )
    const at = this.text.includes(end) ? this.text.indexOf(end) : this.text.length
    const before = this.text.slice(0, at)
    this.text = this.text.slice(at + end.length)
    return before
  }
}

test('each SUB gets the retained messages, also one to a filter that the connection has already', async () => {
  const broker = await startNatsBroker()
  const device = await connectMqtt(broker)
  for (const n of [1, 2, 3]) await device.publish(`kept/${n}`, `${n}`, { retain: true, qos: 1 })
  const three = (sid: number) => [1, 2, 3].map((n) => `MSG kept.${n} ${sid} 1\r\n${n}\r\n`)
  const peer = new RawNats(natsPort(broker))

  peer.socket.write(`${QUIET}SUB kept.* 1\r\nSUB other 2\r\nSUB kept.* 3\r\n`)
  const all: string[] = []
  while (all.length < 6) all.push(...(await pieces(peer)))
  expect(all.toSorted()).toEqual([...three(1), ...three(3)].toSorted())

  peer.socket.write('SUB kept.* 4\r\n')
  const later: string[] = []
  while (later.length < 3) later.push(...(await pieces(peer)))
  expect(later.toSorted()).toEqual(three(4))

  // From now on all three get what comes, once, and UNSUB ends one of them.
  await peer.ask('UNSUB 3\r\n')
  await device.publish('kept/1', 'new', { qos: 1 })
  const live: string[] = []
  while (live.length < 2) live.push(...(await pieces(peer)))
  expect([live.toSorted(), await peer.ask('')]).toEqual([
    ['MSG kept.1 1 3\r\nnew\r\n', 'MSG kept.1 4 3\r\nnew\r\n'],
    '',
  ])
})

/** The messages that have come. */
async function pieces(peer: RawNats): Promise<string[]> {
  const head = await peer.until('\r\n')
  const body = await peer.until('\r\n')
  return [`${head}\r\n${body}\r\n`]
}

test('over WebSocket text messages do as well as binary ones, cut anywhere; what comes is binary', async () => {
  const broker = await startNatsBroker()
  for (const kind of ['text', 'binary', 'both']) {
    const socket = new WebSocket(`ws://127.0.0.1:${natsPort(broker, 'ws')}`)
    onTestFinished(() => socket.terminate())
    let text = ''
    const kinds = new Set<boolean>()
    const whole = new Promise<void>((resolve, reject) => {
      socket.on('message', (data: Buffer, isBinary) => {
        kinds.add(isBinary)
        text += data.toString()
        if (text.endsWith('PONG\r\n')) resolve()
      })
      socket.on('close', () => reject(new Error(`closed after ${text}`)))
    })
    await once(socket, 'open')
    const bytes = `${QUIET}SUB grüße 1\r\nPUB grüße 4\r\n20°\r\nPING\r\n`
    for (const [i, piece] of Array.from(bytes).entries()) {
      const isText = kind === 'text' || (kind === 'both' && i % 2 === 0)
      socket.send(isText ? piece : Buffer.from(piece))
    }
    await within(whole, `the answer to ${kind} messages`)
    expect(text.replace(/^INFO .*\r\n/, ''), kind).toBe('MSG grüße 1 4\r\n20°\r\nPONG\r\n')
    expect([...kinds]).toEqual([true])
  }
})

test('a client that does not read is told Slow Consumer once too much waits, and is gone', async () => {
  const broker = await startNatsBroker({ max_pending_size: '100KB' })
  const slow = new RawNats(natsPort(broker))
  await slow.ask(`${QUIET}SUB flood 1\r\n`)
  slow.socket.pause()
  const device = await connectMqtt(broker)
  const gone = hookRun(
    broker,
    'client.disconnected',
    [...broker.hub.clients()].find(isNats)?.info.clientId ?? '',
  )
  for (let i = 0; i < 40; i++) await device.publish('flood', Buffer.alloc(900_000, 'x'), { qos: 1 })
  await gone
  expect([...broker.hub.clients()].filter(isNats)).toEqual([])
  let tail = ''
  slow.socket.removeAllListeners('data').on('data', (chunk) => (tail = (tail + chunk.toString()).slice(-100)))
  slow.socket.resume()
  await within(once(slow.socket, 'close'), 'the end of it')
  expect(tail).toMatch(/\r\n-ERR 'Slow Consumer'\r\n$/)
})

test('bans hold for clients without a name too', async () => {
  const dir = temporaryDirectory()
  writeFileSync(join(dir, 'bans.csv'), 'as,who\nclientid,troll\npeerhost,127.0.0.9\n')
  const clientinfo_override = { clientid: '${Packet.name}' }
  const changes = { banned: { bootstrap_file: 'bans.csv' } }
  const broker = await startNatsBroker({ clientinfo_override }, dir, changes)
  const peers = ['CONNECT {"name":"troll"}\r\n', 'CONNECT {"name":"good"}\r\n', 'SUB a 1\r\n']
  const answers = await Promise.all(peers.map((bytes) => new RawNats(natsPort(broker)).ask(bytes)))
  expect(answers).toEqual(["-ERR 'Authorization Violation'\r\n", '+OK\r\n', '+OK\r\n'])
  const fromThere = new RawNats(natsPort(broker), '127.0.0.9')
  expect(await fromThere.ask('SUB a 1\r\n')).toBe("-ERR 'Authorization Violation'\r\n")
})

test('access rules look at the topic of a subject, wildcards included', async () => {
  const rules =
    '{deny, all, subscribe, [{eq, "#"}, {eq, "+/secret"}, "private/#"]}. {deny, all, publish, ["private/#"]}.'
  const authorization = { no_match: 'allow', sources: [{ type: 'file', rules }] }
  const broker = await startNatsBroker({}, undefined, { authorization })
  const peer = new RawNats(natsPort(broker))
  const lines = [
    'SUB > 1',
    'SUB *.secret 2',
    'SUB private.a g 3',
    'SUB a.> 4',
    'PUB private.a 0\r\n',
    'PUB private/a 0\r\n',
  ]
  const answer = await peer.ask(`${QUIET}${lines.join('\r\n')}\r\n`)
  expect(answer.match(/-ERR .*/g)).toEqual([
    `-ERR 'Permissions Violation for Subscription to ">"'`,
    `-ERR 'Permissions Violation for Subscription to "*.secret"'`,
    `-ERR 'Permissions Violation for Subscription to "private.a" using queue "g"'`,
    `-ERR 'Permissions Violation for Publish to "private.a"'`,
    `-ERR 'Permissions Violation for Publish to "private/a"'`,
  ])
  expect(peer.isClosed).toBe(false)
})

const LINES = [
  'PUB a.b 2\r\nhi\r\n',
  'SUB > 1\r\n',
  'SUB a.* g 2\r\n',
  'UNSUB 1\r\n',
  'UNSUB 2 3\r\n',
  'PING\r\n',
  QUIET,
]
const MORE_LINES = [
  'HPUB a r 12 13\r\nNATS/1.0\r\n\r\nx\r\n',
  'CONNECT {"verbose":true}\r\n',
  'PUB $SYS.a 0\r\n\r\n',
]

test('random bytes and half frames over sockets end their connection at most, and leave nothing behind', async () => {
  const broker = await startNatsBroker()
  const random = new Random(11)
  let sent = 0
  const storm = async (bytes: number) => {
    for (const end = sent + bytes; sent < end; ) {
      await Promise.all(
        Array.from({ length: 20 }, () => rush(random, natsPort(broker), (count) => (sent += count))),
      )
    }
  }
  await storm(50_000)
  const before = heapBytes()
  await storm(200_000)
  const grown = heapBytes() - before
  await expect.poll(() => [...broker.hub.clients()].length).toBe(0)
  expect(grown).toBeLessThan(8_000_000)
  expect(broker.log.lines.filter(({ level }) => level === 'error')).toEqual([])
  expect(await new RawNats(natsPort(broker)).ask('SUB a 1\r\nPUB a 1\r\nx\r\n')).toBe(
    '+OK\r\n+OK\r\nMSG a 1 1\r\nx\r\n',
  )
})

/** One connection that sends rubbish between whole operations, in pieces, and leaves in the middle of one. */
async function rush(random: Random, port: number, count: (bytes: number) => void): Promise<void> {
  const socket = dial({ port, host: '127.0.0.1', noDelay: true })
  const closed = new Promise<void>((resolve) => socket.on('close', () => resolve()))
  socket.on('error', () => {}).resume()
  await Promise.race([once(socket, 'data'), closed])
  for (let i = 0; i < 12 && !socket.destroyed; i++) {
    const line = Buffer.from(random.pick([...LINES, ...MORE_LINES]).repeat(1 + random.int(4)))
    if (random.int(6) === 0) line[random.int(line.length)] = random.int(256)
    const piece =
      random.int(8) === 0
        ? random.bytes(1 + random.int(60))
        : line.subarray(0, line.length - random.int(2) * random.int(9))
    count(piece.length)
    await new Promise<void>((resolve) => socket.write(piece, () => resolve()))
  }
  socket.destroy()
  await within(closed, 'the end of a connection')
}

function heapBytes(): number {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  collect()
  return process.memoryUsage().heapUsed + process.memoryUsage().arrayBuffers
}

function isNats({ info }: { info: { protocol: string } }): boolean {
  return info.protocol === 'nats'
}

test('a client goes on at another address of INFO when its server stops, with what was left of a subscription with max', async () => {
  const second = await startNatsBroker()
  const first = await startNatsBroker({ connect_urls: [`127.0.0.1:${natsPort(second)}`] })
  const options = { reconnect: true, reconnectTimeWait: 10, noRandomize: true }
  const client = await connectNats(natsPort(first), options)
  const few = client.subscribe('few', { max: 3 })
  const rest = listen(client, 'few')
  client.publish('few', '1')
  await rest.next()
  const reconnected = statusOf(client, 'reconnect')
  await first.stop()
  await within(reconnected, 'a reconnect')
  for (const text of ['2', '3', '4']) client.publish('few', text)
  const texts: string[] = []
  for await (const one of few) texts.push(one.string())
  expect(texts).toEqual(['1', '2', '3'])
  expect(client.getServer()).toContain(String(natsPort(second)))
})

test('a user of an account comes with a JWT, and is told what it may not', async () => {
  const [operator, account, user] = [nkeys.createOperator(), nkeys.createAccount(), nkeys.createUser()]
  const accountJwt = jwtOf({ iss: operator.getPublicKey(), sub: account.getPublicKey() }, operator)
  const nats = { pub: { deny: ['no.>'] }, sub: { allow: ['yes', '_INBOX.>'] } }
  const userJwt = jwtOf({ iss: account.getPublicKey(), sub: user.getPublicKey(), nats }, account)
  const resolver_preload = [{ pubkey: account.getPublicKey(), jwt: accountJwt }]
  const method = {
    trusted_operators: [operator.getPublicKey()],
    resolver: { type: 'memory', resolver_preload },
  }
  const broker = await startNatsBroker({ internal_authn: [{ type: 'jwt', ...method }] })
  const client = await connectNats(natsPort(broker), {
    authenticator: jwtAuthenticator(userJwt, user.getSeed()),
  })
  const inbox = listen(client, 'yes')
  client.publish('yes', 'through')
  expect((await inbox.next()).string()).toBe('through')
  const denied = statusOf(client, 'error')
  client.publish('no.way', '')
  expect(await within(denied, 'an error')).toMatchObject({
    error: { operation: 'publish', subject: 'no.way' },
  })
  const refused = new Promise<Error | undefined>((resolve) => {
    client.subscribe('no', { callback: (error) => resolve(error ?? undefined) })
  })
  expect(await within(refused, 'a refusal')).toMatchObject({ operation: 'subscription', subject: 'no' })
  await expect(
    connectNats(natsPort(broker), { authenticator: jwtAuthenticator(userJwt, nkeys.createUser().getSeed()) }),
  ).rejects.toThrow(/authorization violation/i)
})

function jwtOf(claims: object, key: ReturnType<typeof nkeys.createUser>): string {
  const parts = [{ typ: 'JWT', alg: 'ed25519-nkey' }, claims]
  const body = parts.map((part) => Buffer.from(JSON.stringify(part)).toString('base64url')).join('.')
  return `${body}.${Buffer.from(key.sign(Buffer.from(body))).toString('base64url')}`
}

async function statusOf(client: NatsConnection, type: string): Promise<unknown> {
  for await (const status of client.status()) if (status.type === type) return status
  return undefined
}

test('a responder that answers with a status, and one that is too late', async () => {
  const broker = await startNatsBroker()
  const client = await connectNats(natsPort(broker))
  const other = await connectNats(natsPort(broker))
  const status = headers(404, 'No Messages')
  other.subscribe('status', { callback: (_, one) => void one.respond('', { headers: status }) })
  other.subscribe('late')
  await other.flush()
  const answer = await client.request('status', '')
  expect([answer.headers?.code, answer.headers?.description]).toEqual([404, 'No Messages'])
  await expect(client.request('late', '', { timeout: 50 })).rejects.toThrow(/timeout/i)
  const many = await client.requestMany('status', '', { maxMessages: 1, maxWait: 500 })
  const codes: (number | undefined)[] = []
  for await (const one of many) codes.push(one.headers?.code)
  expect(codes).toEqual([404])
})
