/** `hubbub clients show`, and the statistics in `hubbub clients list --json`. */
import { connect, type Socket } from 'node:net'
import { expect, onTestFinished, test } from 'vitest'
import { connectBytes, publish, subscribe } from '../broker/mqtt/raw-peer.ts'
import { Place } from './support.ts'

interface Shown {
  readonly clientId: string
  readonly stats?: Readonly<Record<string, number>>
}

/** A peer that tells once it has heard so many bytes. */
class BytePeer {
  readonly socket: Socket
  heard = Buffer.alloc(0)
  sentBytes = 0

  constructor(place: Place, listener: string) {
    this.socket = connect(place.log.addressOf(listener)?.port ?? 0, '127.0.0.1')
    this.socket.on('data', (chunk) => {
      this.heard = Buffer.concat([this.heard, chunk])
    })
    onTestFinished(() => void this.socket.destroy())
  }

  /** Says it and waits until `isAnswered` by all that was heard since the beginning. */
  async say(bytes: Buffer | string, isAnswered: (heard: Buffer) => boolean): Promise<void> {
    this.sentBytes += Buffer.byteLength(bytes)
    this.socket.write(bytes)
    while (!isAnswered(this.heard)) await new Promise((resolve) => this.socket.once('data', resolve))
  }
}

const one = async (place: Place, ...args: string[]): Promise<Shown> =>
  JSON.parse((await place.hubbub('clients', 'show', ...args, '--json')).stdout) as Shown

const listed = async (place: Place): Promise<Shown[]> =>
  (await place.hubbub('clients', 'list', '--json')).stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Shown)

test('an MQTT client is shown with what it asked for, and its numbers', async () => {
  const place = new Place({ authentication: [], allow_anonymous: true })
  await place.start()
  const peer = new BytePeer(place, 'tcp:default')
  await peer.say(connectBytes(5, 'meter-7'), (heard) => heard.length > 0)
  const answers = peer.heard.length
  await peer.say(subscribe('a/#', '01'), (heard) => heard.length > answers)
  // Answered by PUBACK, and itself in return.
  await peer.say(
    publish('2', 'a/b', 'hello', 5),
    (heard) => heard.includes('hello') && heard.includes(Buffer.from('40020005', 'hex')),
  )
  const client = await one(place, 'meter-7')
  expect(client).toEqual({
    clientId: 'meter-7',
    protocol: expect.stringMatching(/^MQTT 5/),
    peer: `127.0.0.1:${peer.socket.localPort}`,
    listener: 'tcp:default',
    connectedAtMs: expect.any(Number),
    keepAliveSeconds: 60,
    subscriptions: 1,
    zone: 'default',
    mountpoint: '',
    cleanStart: true,
    sessionExpiryMs: 0,
    isSuperuser: false,
    stats: {
      recv_oct: peer.sentBytes,
      send_oct: peer.heard.length,
      recv_msg: 1,
      send_msg: 1,
      'send_msg.dropped': 0,
      subscriptions_cnt: 1,
      subscriptions_max: 0,
      inflight_cnt: 1,
      inflight_max: 32,
      mqueue_len: 0,
      mqueue_max: 1000,
      mqueue_dropped: 0,
      awaiting_rel_cnt: 0,
    },
  })
  expect((await listed(place)).map(({ stats }) => stats)).toEqual([client.stats])

  const { stdout } = await place.hubbub('clients', 'show', 'meter-7')
  expect(stdout).toMatch(/^client id +meter-7$/m)
  expect(stdout).toMatch(/^keep alive +60s$/m)
  expect(stdout).toMatch(/^session kept for +0s?(ms)?$/m)
  expect(stdout).toMatch(/^login ends +never$/m)
  expect(stdout).toMatch(/^statistics\n {2}recv_oct +\d+$/m)

  expect(await place.hubbub('clients', 'show', 'meter-8')).toEqual({
    code: 1,
    stdout: '',
    stderr: 'hubbub: there is no client "meter-8" of MQTT; clients of gateways are found with --gateway\n',
  })
  expect(await place.hubbub('clients', 'show', 'meter-7', '--gateway', 'stomp')).toMatchObject({
    code: 1,
    stderr: 'hubbub: there is no client "meter-7" of stomp\n',
  })
})

test('clients of gateways have statistics too, unless their gateway has enable_stats: false', async () => {
  const listeners = { tcp: { default: { bind: '127.0.0.1:0' } } }
  const place = new Place({
    allow_anonymous: true,
    gateway: { nats: { listeners }, stomp: { enable_stats: false, listeners } },
  })
  await place.start()
  // It has not said who it is.
  const anonymous = new BytePeer(place, 'nats:tcp:default')
  await anonymous.say('SUB a.> 1\r\nPUB a.b 2\r\nhi\r\nPUB c 2\r\nno\r\nPING\r\n', (heard) =>
    heard.includes('PONG\r\n'),
  )
  const quiet = new BytePeer(place, 'stomp:tcp:default')
  await quiet.say('CONNECT\naccept-version:1.2\n\n\0', (heard) => heard.includes('CONNECTED'))

  const all = await listed(place)
  const [natsClient, stompClient] = ['nats', 'stomp'].map((gateway) =>
    all.find((client) => (client as { gateway?: string }).gateway === gateway),
  ) as [Shown, Shown]
  expect(natsClient.stats).toMatchObject({
    recv_oct: anonymous.sentBytes,
    send_oct: anonymous.heard.length,
    recv_msg: 2,
    send_msg: 1,
    subscriptions_cnt: 1,
  })
  expect(natsClient.stats).not.toHaveProperty('awaiting_rel_cnt')
  expect(await one(place, natsClient.clientId, '--gateway', 'nats')).toMatchObject({ ...natsClient })
  expect(await place.hubbub('clients', 'show', natsClient.clientId)).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('--gateway'),
  })

  expect(stompClient).not.toHaveProperty('stats')
  const shown = await place.hubbub('clients', 'show', stompClient.clientId, '--gateway', 'stomp')
  expect(shown.stdout).toMatch(/^protocol +STOMP 1\.2$/m)
  expect(shown.stdout).toMatch(/^no statistics: its gateway has enable_stats: false$/m)
})
