import { expect, test } from 'vitest'
import { sequenceOf } from '../../listeners/dtls/hello.ts'
import { lossyRelay } from '../support/lossy-relay.ts'
import { DtlsProbe, dtlsOptions, Echo, listenDatagrams, UdpProbe } from './datagram-support.ts'

const pskLookup = () => Buffer.from('secret')

test('with every tenth datagram lost each way all handshakes are finished', async (t) => {
  const echo = new Echo()
  const { port } = await listenDatagrams(t, dtlsOptions(), echo.serve, { pskLookup })
  const relay = await lossyRelay(port, 10, 7)
  t.onTestFinished(() => relay.close())
  const context = DtlsProbe.psk('meter-7', 'secret')
  const clients = await Promise.all(Array.from({ length: 10 }, () => DtlsProbe.open(t, relay.port, context)))
  await Promise.all(clients.map(({ opened }) => opened))
  await echo.has('peers', 10)
  expect(relay.dropped).toBeGreaterThan(3)
  const answers = clients.map(async (client, i) => {
    const again = setInterval(() => client.send(`I am ${i}`), 20)
    t.onTestFinished(() => clearInterval(again))
    return (await client.next()).toString()
  })
  expect(await Promise.all(answers)).toEqual(clients.map((_, i) => `I am ${i}`))
})

test('a hello that had to be repeated does not make our answers look repeated too', async (t) => {
  const echo = new Echo()
  const { port } = await listenDatagrams(t, dtlsOptions(), echo.serve, { pskLookup })
  const probe = await UdpProbe.open(t, port)
  const send = probe.socket.send.bind(probe.socket)
  let hellos = 0
  probe.socket.send = ((datagram: Buffer, ...rest: [number, string]) => {
    if (++hellos > 1) send(datagram, ...rest)
  }) as never
  const numbers: number[] = []
  const client = new DtlsProbe(probe.socket, port, DtlsProbe.psk('meter-7', 'secret'))
  t.onTestFinished(() => client.vanish())
  probe.socket.on('message', (datagram) => numbers.push(sequenceOf(datagram)))
  await client.opened
  expect(numbers[0]).toBe(1)
  expect(numbers[1]).toBe(2)
})
