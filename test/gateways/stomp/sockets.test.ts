import { once } from 'node:events'
import { connect as connectTcp } from 'node:net'
import { type IMessage, Client as StompJs } from '@stomp/stompjs'
import stompit, { type Client as StompitClient } from 'stompit'
import { expect, onTestFinished, test } from 'vitest'
import { WebSocket } from 'ws'
import { Message } from '../../../model/message.ts'
import { startStompHost } from '../support/stomp-host.ts'

test('stompit logs in, subscribes, sends, acknowledges and says goodbye over TCP', async () => {
  const { broker, tcpPort } = await startStompHost()
  const client = await new Promise<StompitClient>((resolve, reject) => {
    const headers = { host: '/', login: 'ann', passcode: 'secret', 'heart-beat': '5000,5000' }
    stompit.connect({ host: '127.0.0.1', port: tcpPort, connectHeaders: headers }, (error, connected) =>
      error === null ? resolve(connected) : reject(error),
    )
  })
  expect(broker.client.info).toMatchObject({ username: 'ann', protocolVersion: '1.2' })

  const received = new Promise<string>((resolve, reject) => {
    client.subscribe({ destination: '/queue/+', ack: 'client-individual' }, (error, message) => {
      if (error !== null) return reject(error)
      message.readString('utf8', (failure, text) => {
        client.ack(message)
        if (failure === null) resolve(text ?? '')
        else reject(failure)
      })
    })
  })
  const frame = client.send({ destination: '/queue/foo', qos: '1', 'content-type': 'text/plain' })
  frame.write('hello')
  frame.end()
  expect(await received).toBe('hello')

  await new Promise<void>((resolve) => client.disconnect(() => resolve()))
  expect(broker.client.acknowledged).toEqual([1])
  expect(broker.client.closings).toEqual(['normal'])
})

test('stompjs does the same over WebSocket, with the newest subprotocol', async () => {
  const { broker, wsPort } = await startStompHost()
  const url = `ws://127.0.0.1:${wsPort}/stomp`
  const client = new StompJs({
    brokerURL: url,
    webSocketFactory: () => new WebSocket(url, ['v10.stomp', 'v11.stomp', 'v12.stomp']) as never,
    reconnectDelay: 0,
  })
  const connected = new Promise<void>((resolve) => {
    client.onConnect = () => resolve()
  })
  client.activate()
  onTestFinished(() => client.deactivate())
  await connected
  const received = new Promise<IMessage>((resolve) => client.subscribe('/topic/#', resolve, { id: 's' }))
  client.publish({ destination: '/topic/ä', body: 'grüß: dich\n', headers: { 'x-y': 'a:b' } })
  const message = await received
  expect(message.body).toBe('grüß: dich\n')
  expect(message.headers).toMatchObject({ destination: '/topic/ä', subscription: 's', 'x-y': 'a:b' })
  expect(broker.client.info.listener).toBe('stomp:ws:default')
})

test('large bodies arrive whole in both directions', async () => {
  const { broker, tcpPort } = await startStompHost({ frame: { max_body_length: '2MB' } })
  const socket = connectTcp(tcpPort, '127.0.0.1')
  const body = Buffer.alloc(1_000_000, 'x')
  socket.write('CONNECT\naccept-version:1.2\nhost:h\n\n\0SUBSCRIBE\nid:0\ndestination:a\n\n\0')
  socket.write(`SEND\ndestination:a\ncontent-length:${body.length}\n\n`)
  socket.write(body)
  socket.end('\0')
  let received = 0
  socket.on('data', (chunk: Buffer) => (received += chunk.length))
  await once(socket, 'close')
  expect(broker.published[0]?.payload).toHaveLength(body.length)
  expect(received).toBeGreaterThan(body.length)
})

test('an update leaves clients alone, a stop tells them', async () => {
  const { broker, host, tcpPort } = await startStompHost()
  const socket = connectTcp(tcpPort, '127.0.0.1')
  let text = ''
  socket.on('data', (chunk: Buffer) => (text += chunk.toString()))
  socket.write('CONNECT\naccept-version:1.2\n\n\0SUBSCRIBE\nid:0\ndestination:a\nreceipt:r\n\n\0')
  while (!text.includes('RECEIPT')) await once(socket, 'data')
  await host.update({ ...host.config, mountpoint: 'new/' })
  broker.publish(Message.of('a', Buffer.from('still here'), 0, false, undefined, undefined, Date.now()))
  while (!text.includes('still here')) await once(socket, 'data')
  await Promise.all([once(socket, 'close'), host.stop(AbortSignal.timeout(5_000))])
  expect(text).toContain('Server shutting down')
  expect(broker.client.closings).toEqual(['server_shutting_down'])
})
