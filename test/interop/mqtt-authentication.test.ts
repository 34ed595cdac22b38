/** Enhanced authentication with a client of another make. */
import mqtt, { type MqttClient } from 'mqtt'
import { generate, type IAuthPacket } from 'mqtt-packet'
import { expect, onTestFinished, test } from 'vitest'
import type { Exchange, Verdict } from '../../model/access.ts'
import { ReasonCode } from '../../model/reason-codes.ts'
import { hookRun, startBroker, type TestBroker } from '../support/broker.ts'
import { Inbox, within } from '../support/inbox.ts'
import { MqttPeer } from './mqtt-peer.ts'

const METHOD = 'SUM'

/** "a+b" with the numbers of one exchange; who knows the sum is let in. */
class Sum implements Exchange {
  readonly #a: number
  readonly #b: number

  constructor(a: number, b: number) {
    this.#a = a
    this.#b = b
  }

  get question(): Buffer {
    return Buffer.from(`${this.#a}+${this.#b}`)
  }

  async next(data: Uint8Array | undefined): Promise<Verdict> {
    const isRight = Buffer.from(data ?? []).toString() === String(this.#a + this.#b)
    if (!isRight) return { kind: 'deny', reason: ReasonCode.BadUserNameOrPassword }
    return { kind: 'allow', principal: { isSuperuser: false }, data: Buffer.from('right') }
  }
}

async function startAsking(): Promise<TestBroker> {
  const broker = await startBroker()
  let count = 0
  broker.hooks.add('client.authenticate', 'sum', (_, { authMethod }) => {
    if (authMethod !== METHOD) return undefined
    const exchange = new Sum(++count, 10)
    return { stop: { kind: 'continue', data: exchange.question, exchange } }
  })
  return broker
}

type Answer = (question: string) => string

function right(question: string): string {
  return String(question.split('+').reduce((sum, number) => sum + Number(number), 0))
}

/** What the broker sends besides, and the client that answers its challenges. */
function start({ mqttPort }: TestBroker, answer: Answer, authenticationMethod = METHOD) {
  const client = mqtt.connect({
    host: '127.0.0.1',
    port: mqttPort,
    protocolVersion: 5,
    clientId: 'c',
    reconnectPeriod: 0,
    properties: { authenticationMethod, authenticationData: Buffer.from('hello') },
  })
  onTestFinished(() => void client.end(true))
  const auths = new Inbox<IAuthPacket>('AUTH')
  client.handleAuth = (packet, callback) => {
    auths.put(packet)
    if (packet.reasonCode === ReasonCode.Success) return callback()
    const said = answer(String(packet.properties?.authenticationData))
    callback(undefined, authPacket(ReasonCode.ContinueAuthentication, said))
  }
  return { client, auths, peer: new MqttPeer(client, 'c') }
}

function authPacket(reasonCode: number, data?: string): IAuthPacket {
  const authenticationData = data === undefined ? {} : { authenticationData: Buffer.from(data) }
  return { cmd: 'auth', reasonCode, properties: { authenticationMethod: METHOD, ...authenticationData } }
}

/** mqtt.js does not do it by itself. */
function authenticateAgain(client: MqttClient): void {
  client.stream.write(generate(authPacket(ReasonCode.ReAuthenticate), { protocolVersion: 5 }))
}

/** CONNACK, or the error that mqtt.js makes of a refusal. */
function outcome(client: MqttClient): Promise<unknown> {
  const answer = new Promise((resolve) => {
    client.once('connect', resolve)
    client.once('error', resolve)
  })
  return within(answer, 'the answer to a login')
}

// [MQTT-4.12.0-2] [MQTT-4.12.0-3] [MQTT-4.12.0-5] [MQTT-4.12.1-1]
test('a client is asked before it is let in, and again when it wants to', async () => {
  const broker = await startAsking()
  const { client, auths, peer } = start(broker, right)
  expect(await outcome(client)).toMatchObject({
    reasonCode: 0,
    properties: { authenticationMethod: METHOD, authenticationData: Buffer.from('right') },
  })
  expect(await auths.next()).toMatchObject({ reasonCode: 0x18 })

  await peer.subscribe('t')
  authenticateAgain(client)
  expect(await auths.next()).toMatchObject({ reasonCode: 0x18 })
  const properties = { authenticationMethod: METHOD, authenticationData: Buffer.from('right') }
  expect(await auths.next()).toMatchObject({ reasonCode: 0, properties })
  await peer.publish('t', 'still here')
  expect((await peer.next()).payload).toBe('still here')
})

// [MQTT-4.12.0-1] [MQTT-4.12.0-4]
test('a client with a wrong answer, or a method that nobody has, is told so', async () => {
  const broker = await startAsking()
  expect(await outcome(start(broker, () => '0').client)).toMatchObject({ code: 0x86 })
  expect(await outcome(start(broker, right, 'RIDDLE').client)).toMatchObject({ code: 0x8c })
  expect(broker.hub.clientCount).toBe(0)
})

// [MQTT-4.12.1-2]
test('a client that fails when it authenticates again is thrown out', async () => {
  const broker = await startAsking()
  const answers = [right, () => '0']
  const { client, peer } = start(broker, (question) => answers.shift()?.(question) ?? '')
  await outcome(client)
  const left = hookRun(broker, 'client.disconnected', 'c')
  authenticateAgain(client)
  expect(await peer.gone()).toMatchObject({ reasonCode: 0x87 })
  await left
})
