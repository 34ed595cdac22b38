/** Logins of another protocol through the same authenticators: a whole broker, real backends, a STOMP client. */
import { connect, type Socket } from 'node:net'
import { expect, onTestFinished, test } from 'vitest'
import { loadConfig } from '../../config/load.ts'
import { configSchema } from '../../config/schema.ts'
import { Hubbub } from '../../main.ts'
import { createLog } from '../../observability/log.ts'
import { HttpService } from '../support/http-server.ts'
import { LogBook } from '../support/log-book.ts'
import { RedisServer } from '../support/redis.ts'
import { requireService, skipNote } from '../support/services.ts'
import { PASSWORD } from './authenticator-contract.ts'
import { temporaryDir } from './fixtures.ts'
import { HASH, SALT } from './stored-users.ts'

const redis = requireService('redis-server')

/** A whole broker whose STOMP clients have these authenticators. */
async function stompBroker(authentication: object[]): Promise<{ port: number; log: LogBook }> {
  const dir = temporaryDir()
  const log = new LogBook()
  const listeners = { tcp: { default: { bind: '127.0.0.1:0' } } }
  const overrides = { node: { data_dir: dir }, listeners, gateway: { stomp: { listeners, authentication } } }
  const { config } = loadConfig({ schema: configSchema(), file: undefined, env: {}, overrides })
  const stream = { write: (line: string) => log.write(line) }
  const broker = await Hubbub.start(config, dir, createLog({ level: 'debug', format: 'json', stream }))
  onTestFinished(() => broker.stop())
  return { port: log.portOf('stomp:tcp:default'), log }
}

/** What the broker answers to a STOMP login, up to the end of the first frame. */
async function login(port: number, name: string, passcode: string, more = ''): Promise<string> {
  const socket = stompSocket(port)
  socket.write(`CONNECT\naccept-version:1.2\nhost:x\nlogin:${name}\npasscode:${passcode}\n\n\0${more}`)
  return firstFrames(socket, more === '' ? 1 : 2)
}

function stompSocket(port: number): Socket {
  const socket = connect(port, '127.0.0.1').on('error', () => {})
  onTestFinished(() => void socket.destroy())
  return socket
}

function firstFrames(socket: Socket, count: number): Promise<string> {
  return new Promise((resolve) => {
    let said = ''
    const done = () => resolve(said)
    socket.on('close', done).on('data', (bytes: Buffer) => {
      said += bytes.toString()
      if (said.split('\0').length > count) done()
    })
  })
}

test.skipIf(redis.skip)(
  `STOMP clients log in through Redis and then an HTTP service${skipNote(redis)}`,
  async () => {
    const server = await RedisServer.start()
    onTestFinished(() => server.stop())
    await server.ask('HSET', 'mqtt_user:ann', 'password_hash', HASH, 'salt', SALT)
    const service = await HttpService.start()
    onTestFinished(() => service.stop())
    service.respond = ({ body }) => {
      const { user, pass } = JSON.parse(body) as { user: string; pass: string }
      if (user !== 'bob') return { status: 500 }
      const acl = [
        { permission: 'allow', action: 'publish', topic: 'mine' },
        { permission: 'deny', action: 'all', topic: '#' },
      ]
      const answer = pass === PASSWORD ? { result: 'allow', acl } : { result: 'deny' }
      return { headers: { 'content-type': 'application/json' }, body: JSON.stringify(answer) }
    }
    const { port, log } = await stompBroker([
      {
        mechanism: 'password_based',
        backend: 'redis',
        server: server.address,
        cmd: 'HMGET mqtt_user:${username} password_hash salt',
      },
      {
        mechanism: 'password_based',
        backend: 'http',
        method: 'post',
        url: service.url,
        body: { user: '${username}', pass: '${password}' },
      },
    ])

    expect(await login(port, 'ann', PASSWORD)).toMatch(/^CONNECTED/)
    expect(await login(port, 'ann', 'wrong')).toMatch(/^ERROR/)
    expect(service.asked).toHaveLength(0)
    expect(await login(port, 'bob', PASSWORD)).toMatch(/^CONNECTED/)
    expect(await login(port, 'bob', 'wrong')).toMatch(/^ERROR/)
    expect(await login(port, 'eve', PASSWORD)).toMatch(/^ERROR/)

    const send = (topic: string) => `SEND\ndestination:${topic}\nreceipt:1\n\nx\0`
    expect(await login(port, 'bob', PASSWORD, send('mine'))).toMatch(/RECEIPT/)
    expect(await login(port, 'bob', PASSWORD, send('theirs'))).toMatch(/ERROR/)

    await server.stop()
    expect(await login(port, 'ann', PASSWORD)).toMatch(/^ERROR/)
    expect(await login(port, 'bob', PASSWORD)).toMatch(/^CONNECTED/)
    expect(JSON.stringify(log.lines)).not.toContain(PASSWORD)
  },
)
