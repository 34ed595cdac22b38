/**
 * A double of MongoDB: a TCP server that speaks as much of its protocol (OP_MSG, and OP_QUERY for the first hello)
 * as the official driver needs, logs in with SCRAM-SHA-256 and answers queries with mingo. It is NOT MongoDB: it
 * shows how a client connects, logs in, asks, fails and waits; nothing of planning, collations, TLS, replica sets.
 */
import { createHash, createHmac, pbkdf2Sync, randomBytes, timingSafeEqual } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type Server, type Socket } from 'node:net'
import { find } from 'mingo'
import { BSON } from 'mongodb'
import { freePort } from './free-port.ts'

type Document = Record<string, unknown>

/** What is kept of a user's password (RFC 5802 §3). */
interface Credential {
  readonly salt: Buffer
  readonly storedKey: Buffer
  readonly serverKey: Buffer
}

/** One connection: who it is, and what was said of a login so far. */
interface Peer {
  user: string | undefined
  login: { user: string; credential: Credential; said: string } | undefined
}

const ITERATIONS = 4096
const OP_MSG = 2013
const OP_QUERY = 2004
const OP_REPLY = 1

export class MongoDouble {
  /** What clients have asked, in order. */
  readonly commands: Document[] = []
  /** Takes everything and answers nothing. */
  isSilent = false
  readonly #users: ReadonlyMap<string, Credential>
  readonly #collections = new Map<string, Document[]>()
  readonly #sockets = new Set<Socket>()
  readonly #server: Server
  readonly #port: number
  #lastId = 0

  private constructor(users: Readonly<Record<string, string>>, port: number) {
    this.#port = port
    this.#users = new Map(Object.entries(users).map(([name, password]) => [name, credentialOf(password)]))
    this.#server = createServer((socket) => this.#serve(socket))
  }

  /** @param users - names and passwords; without any, everybody may do everything */
  static async start(users: Readonly<Record<string, string>> = {}): Promise<MongoDouble> {
    const double = new MongoDouble(users, await freePort())
    await double.restart()
    return double
  }

  get address(): string {
    return `127.0.0.1:${this.#port}`
  }

  get connections(): number {
    return this.#sockets.size
  }

  insert(database: string, collection: string, ...documents: Document[]): void {
    this.#documents(database, collection).push(...documents)
  }

  /** Listens again after `stop`, on the same port. */
  async restart(): Promise<void> {
    await once(this.#server.listen(this.#port, '127.0.0.1'), 'listening')
  }

  async stop(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()))
    for (const socket of this.#sockets) socket.destroy()
    await closed
  }

  #documents(database: string, collection: string): Document[] {
    const name = `${database}.${collection}`
    const documents = this.#collections.get(name) ?? []
    this.#collections.set(name, documents)
    return documents
  }

  #serve(socket: Socket): void {
    const peer: Peer = { user: undefined, login: undefined }
    this.#sockets.add(socket)
    socket.on('close', () => this.#sockets.delete(socket)).on('error', () => {})
    let buffer = Buffer.alloc(0)
    socket.on('data', (bytes: Buffer) => {
      buffer = Buffer.concat([buffer, bytes])
      while (buffer.length >= 16 && buffer.length >= buffer.readInt32LE(0)) {
        const size = buffer.readInt32LE(0)
        if (!this.isSilent) this.#answer(socket, peer, buffer.subarray(0, size))
        buffer = buffer.subarray(size)
      }
    })
  }

  #answer(socket: Socket, peer: Peer, message: Buffer): void {
    const id = message.readInt32LE(4)
    if (message.readInt32LE(12) === OP_MSG) {
      const reply = BSON.serialize(this.#run(peer, commandIn(message)))
      socket.write(this.#message(OP_MSG, id, Buffer.concat([Buffer.alloc(5), reply])))
    } else if (message.readInt32LE(12) === OP_QUERY) {
      const nameEnd = message.indexOf(0, 20)
      const command = BSON.deserialize(message.subarray(nameEnd + 9)) as Document
      const head = Buffer.alloc(20)
      head.writeInt32LE(8, 0)
      head.writeInt32LE(1, 16)
      socket.write(
        this.#message(OP_REPLY, id, Buffer.concat([head, BSON.serialize(this.#run(peer, command))])),
      )
    } else socket.destroy()
  }

  #message(operation: number, responseTo: number, body: Uint8Array): Buffer {
    const header = Buffer.alloc(16)
    header.writeInt32LE(16 + body.length, 0)
    header.writeInt32LE(++this.#lastId, 4)
    header.writeInt32LE(responseTo, 8)
    header.writeInt32LE(operation, 12)
    return Buffer.concat([header, body])
  }

  #run(peer: Peer, command: Document): Document {
    const [name = ''] = Object.keys(command)
    this.commands.push(command)
    if (/^(?:hello|ismaster)$/i.test(name)) return this.#hello(peer, command)
    if (name === 'saslStart' || name === 'saslContinue')
      return this.#login(peer, command) ?? failure(18, 'AuthenticationFailed', 'Authentication failed.')
    if (['ping', 'endSessions', 'killCursors'].includes(name)) return { ok: 1 }
    if (this.#users.size > 0 && peer.user === undefined)
      return failure(13, 'Unauthorized', `command ${name} requires authentication`)
    if (name !== 'find') return failure(59, 'CommandNotFound', `no such command: '${name}'`)
    return this.#find(String(command.$db), command)
  }

  #hello(peer: Peer, command: Document): Document {
    const first = command.speculativeAuthenticate
    const login = first === undefined ? undefined : this.#login(peer, first as Document)
    return {
      helloOk: true,
      isWritablePrimary: true,
      ismaster: true,
      maxBsonObjectSize: 16_777_216,
      maxMessageSizeBytes: 48_000_000,
      maxWriteBatchSize: 100_000,
      localTime: new Date(),
      minWireVersion: 0,
      maxWireVersion: 21,
      readOnly: false,
      logicalSessionTimeoutMinutes: 30,
      connectionId: 1,
      ...(command.saslSupportedMechs === undefined ? {} : { saslSupportedMechs: ['SCRAM-SHA-256'] }),
      ...(login === undefined ? {} : { speculativeAuthenticate: login }),
      ok: 1,
    }
  }

  #find(database: string, { find: collection, filter = {}, skip, limit }: Document): Document {
    const name = String(collection)
    try {
      let cursor = find<Document>(this.#documents(database, name), filter as Document, {})
      if (typeof skip === 'number') cursor = cursor.skip(skip)
      if (typeof limit === 'number' && limit !== 0) cursor = cursor.limit(Math.abs(limit))
      const firstBatch = cursor.all()
      return { cursor: { id: BSON.Long.ZERO, ns: `${database}.${name}`, firstBatch }, ok: 1 }
    } catch (error) {
      return failure(2, 'BadValue', String(error))
    }
  }

  /** RFC 5802 §5, without channel binding. */
  #login(peer: Peer, command: Document): Document | undefined {
    const text = Buffer.from((command.payload as BSON.Binary).buffer).toString()
    if (command.saslStart !== undefined) return this.#loginBegins(peer, command, text)
    const { login } = peer
    if (login === undefined) return undefined
    if (text === '') return saslReply('', true)
    const proofAt = text.indexOf(',p=')
    const said = `${login.said},${text.slice(0, proofAt)}`
    const proof = Buffer.from(text.slice(proofAt + 3), 'base64')
    const clientKey = xor(proof, hmac(login.credential.storedKey, said))
    if (!timingSafeEqual(sha256(clientKey), login.credential.storedKey)) return undefined
    peer.user = login.user
    return saslReply(`v=${hmac(login.credential.serverKey, said).toString('base64')}`, true)
  }

  #loginBegins(peer: Peer, command: Document, text: string): Document | undefined {
    const [, name = '', nonce] = /n=([^,]*),r=(.*)$/.exec(text) ?? []
    const user = name.replaceAll('=2C', ',').replaceAll('=3D', '=')
    const credential = this.#users.get(user)
    if (credential === undefined || command.mechanism !== 'SCRAM-SHA-256') return undefined
    const salt = credential.salt.toString('base64')
    const challenge = `r=${nonce}${randomBytes(18).toString('base64')},s=${salt},i=${ITERATIONS}`
    peer.login = { user, credential, said: `${text.slice(text.indexOf('n=', 1))},${challenge}` }
    return saslReply(challenge, false)
  }
}

/** The document of an OP_MSG, with those that came in sequences beside it. */
function commandIn(message: Buffer): Document {
  const hasChecksum = (message.readUInt32LE(16) & 1) === 1
  const end = message.length - (hasChecksum ? 4 : 0)
  let command: Document = {}
  for (let at = 20; at < end; ) {
    const kind = message[at++]
    const stop = at + message.readInt32LE(at)
    if (kind === 0) command = { ...(BSON.deserialize(message.subarray(at, stop)) as Document), ...command }
    at = stop
  }
  return command
}

function credentialOf(password: string): Credential {
  const salt = randomBytes(16)
  const salted = pbkdf2Sync(password, salt, ITERATIONS, 32, 'sha256')
  return {
    salt,
    storedKey: sha256(hmac(salted, 'Client Key')),
    serverKey: hmac(salted, 'Server Key'),
  }
}

function saslReply(text: string, done: boolean): Document {
  return { conversationId: 1, done, payload: new BSON.Binary(Buffer.from(text)), ok: 1 }
}

function failure(code: number, codeName: string, errmsg: string): Document {
  return { ok: 0, code, codeName, errmsg }
}

function hmac(key: Buffer, text: string): Buffer {
  return createHmac('sha256', key).update(text).digest()
}

function sha256(bytes: Buffer): Buffer {
  return createHash('sha256').update(bytes).digest()
}

function xor(a: Buffer, b: Buffer): Buffer {
  return Buffer.from(a.map((byte, i) => byte ^ (b[i] ?? 0)))
}
