/** What a WebSocket listener says to those who ask for something else. */
import { once } from 'node:events'
import { request } from 'node:http'
import { get } from 'node:https'
import { expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { startBroker } from '../support/broker.ts'
import { authority } from './mqtt-peer.ts'

test('a WebSocket without an MQTT subprotocol gets 400, at another path 404', async () => {
  const broker = await startBroker()
  const mqtt = `ws://127.0.0.1:${broker.wsPort}`
  const stomp = `ws://127.0.0.1:${broker.stompWsPort}`
  expect(await statusOf(`${mqtt}/mqtt`, [])).toBe(400)
  expect(await statusOf(`${mqtt}/mqtt`, ['chat'])).toBe(400)
  expect(await statusOf(`${mqtt}/other`, ['mqtt'])).toBe(404)
  expect(await statusOf(`${stomp}/mqtt`, ['v12.stomp'])).toBe(404)
  expect(await statusOf(`wss://127.0.0.1:${broker.wssPort}/`, ['mqtt'])).toBe(404)
})

test('the first subprotocol the broker knows is chosen; STOMP does without one', async () => {
  const broker = await startBroker()
  expect(await protocolOf(`ws://127.0.0.1:${broker.wsPort}/mqtt`, ['chat', 'mqtt'])).toBe('mqtt')
  const stomp = `ws://127.0.0.1:${broker.stompWsPort}/stomp`
  expect(await protocolOf(stomp, ['v12.stomp', 'v11.stomp'])).toBe('v12.stomp')
  expect(await protocolOf(stomp, [])).toBe('')
})

test('a plain HTTP request gets 426 with an explanation, at another path 404', async () => {
  const broker = await startBroker()
  expect(await httpGet(`http://127.0.0.1:${broker.wsPort}/mqtt`)).toMatchObject({
    status: 426,
    upgrade: 'websocket',
  })
  expect(await httpGet(`http://127.0.0.1:${broker.stompWsPort}/stomp`)).toMatchObject({ status: 426 })
  expect(await httpGet(`http://127.0.0.1:${broker.wsPort}/`)).toMatchObject({ status: 404 })
  const secure = get(`https://127.0.0.1:${broker.wssPort}/mqtt`, { ca: authority() })
  const [response] = (await once(secure, 'response')) as [{ statusCode: number; resume(): void }]
  response.resume()
  expect(response.statusCode).toBe(426)
})

/** The HTTP status that refuses a WebSocket. */
async function statusOf(url: string, protocols: string[]): Promise<number | undefined> {
  const socket = new WebSocket(url, protocols, { ca: authority() })
  return new Promise((resolve, reject) => {
    socket.on('error', reject)
    socket.on('open', () => reject(new Error(`${url} was accepted`)))
    socket.on('unexpected-response', (_, response) => {
      response.resume()
      resolve(response.statusCode)
    })
  })
}

async function protocolOf(url: string, protocols: string[]): Promise<string> {
  const socket = new WebSocket(url, protocols)
  await once(socket, 'open')
  socket.terminate()
  return socket.protocol
}

async function httpGet(url: string) {
  const asked = request(url).end()
  const [response] = (await once(asked, 'response')) as [import('node:http').IncomingMessage]
  let text = ''
  for await (const chunk of response) text += String(chunk)
  return { status: response.statusCode, upgrade: response.headers.upgrade, text }
}
