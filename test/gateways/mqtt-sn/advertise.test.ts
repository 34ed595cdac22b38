import { expect, onTestFinished, test } from 'vitest'
import { Advertiser, broadcastOf } from '../../../gateways/mqtt-sn/advertise.ts'
import { silentLogger } from '../../../model/log.ts'
import { snPeer } from '../support/sn-peer.ts'

test('ADVERTISE goes to the ports of the listeners and says when the next one comes', async () => {
  const peer = await snPeer(9)
  const { port } = peer.socket.address()
  const advertiser = new Advertiser(1, [port], silentLogger, () => ['127.0.0.1'])
  onTestFinished(() => advertiser.close())
  expect(await peer.next()).toBe('0500010384')
})

test('the broadcast address of a network', () => {
  expect(broadcastOf('192.168.7.20', '255.255.255.0')).toBe('192.168.7.255')
  expect(broadcastOf('10.1.2.3', '255.255.240.0')).toBe('10.1.15.255')
})
