import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { DtlsProbe } from '../../listeners/datagram-support.ts'
import { makeCerts } from '../../support/certs.ts'
import { hex, sized, startSn } from '../support/sn-peer.ts'

const say = async (probe: DtlsProbe, frame: string): Promise<string> => {
  probe.send(Buffer.from(frame, 'hex'))
  return (await probe.next()).toString('hex')
}

const DTLS = { dtls: { default: { bind: '127.0.0.1:0' } } }

test('15: over DTLS a key says who the device is; it connects, publishes and says goodbye the same way', async (t) => {
  const pskLookup = (identity: string) => (identity === 'meter-7' ? Buffer.from('secret') : undefined)
  const { broker, portOf } = await startSn(
    { listeners: DTLS, clientinfo_override: { username: '${ConnInfo.psk_identity}' } },
    { pskLookup },
  )
  const logins: (string | undefined)[] = []
  broker.hooks.put('client.connected', 'test', ({ username }) => void logins.push(username))
  const probe = await DtlsProbe.open(t, portOf('dtls'), DtlsProbe.psk('meter-7', 'secret'))
  await probe.opened
  expect(await say(probe, '030100')).toBe('030201')
  expect(await say(probe, sized(`0404010000${hex('a')}`))).toBe('030500')
  expect(logins).toEqual(['meter-7'])
  expect(await say(probe, '0b0c225452000114151617')).toBe('070d5452000100')
  expect(await say(probe, '041800c8')).toBe('0218')

  const second = await DtlsProbe.open(t, portOf('dtls'), DtlsProbe.psk('meter-7', 'secret'))
  await second.opened
  expect(await say(second, sized(`16${hex('a')}`))).toBe('0217')
  expect(await say(second, '0218')).toBe('0218')
  expect(await second.ended).toBe('closed')
})

test('a certificate says it too', async (t) => {
  const certs = makeCerts()
  const dtls_options = {
    certfile: certs.serverCert,
    keyfile: certs.serverKey,
    cacertfile: certs.ca,
    verify: 'verify_peer',
  }
  const { broker, portOf } = await startSn({
    clientinfo_override: { username: '${ClientInfo.cn}' },
    listeners: { dtls: { default: { bind: '127.0.0.1:0', dtls_options } } },
  })
  const probe = await DtlsProbe.open(
    t,
    portOf('dtls'),
    DtlsProbe.context({
      cert: readFileSync(certs.clientCert, 'utf8'),
      key: readFileSync(certs.clientKey, 'utf8'),
    }),
  )
  await probe.opened
  expect(await say(probe, sized(`0404010000${hex('a')}`))).toBe('030500')
  expect(broker.hub.client('mqttsn\0a')?.info).toMatchObject({ username: 'meter-7', protocol: 'mqtt-sn' })
})
