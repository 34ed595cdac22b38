/** The command line clients most people have at hand, written in C by others. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, inject, test } from 'vitest'
import { temporaryDirectory } from '../config/sample.ts'
import { hookRun, startBroker } from '../support/broker.ts'
import { skipNote } from '../support/services.ts'
import { mosquittoPub, mosquittoSub, publish, subscribe } from './mosquitto.ts'
import { connectMqtt, VERSIONS } from './mqtt-peer.ts'

const note = skipNote(mosquittoPub) + skipNote(mosquittoSub)
const mosquittoTest = test.skipIf(mosquittoPub.skip || mosquittoSub.skip)

for (const version of VERSIONS) {
  for (const via of ['tcp', 'tls'] as const) {
    mosquittoTest(
      `MQTT ${version} over ${via}: messages of every QoS, retained ones too${note}`,
      async () => {
        const broker = await startBroker()
        const reach = { version, via }
        const kept = ['-t', 'house/kept', '-m', 'for later', '-q', '1', '-r']
        expect(await publish(broker, reach, kept)).toEqual({ code: 0, stderr: '' })

        const sub = await subscribe(broker, reach, 'sub', ['-t', 'house/#', '-q', '2', '-C', '5'])
        expect(await sub.lines.next()).toBe('house/kept 1 1 for later')
        for (const qos of ['0', '1', '2']) {
          const args = ['-t', `house/${qos}`, '-m', `grüß ${qos}`, '-q', qos]
          expect(await publish(broker, reach, args)).toEqual({ code: 0, stderr: '' })
        }
        await publish(broker, reach, ['-t', 'house/kept', '-n', '-r']) // takes it away
        expect(await sub.lines.take(4)).toEqual([
          'house/0 0 0 grüß 0',
          'house/1 1 0 grüß 1',
          'house/2 2 0 grüß 2',
          'house/kept 0 0 ',
        ])
        expect(await sub.finished).toEqual({ code: 0, stderr: '' })
        expect(broker.hub.kernel.storage.hasRetained('house/kept')).toBe(false)
      },
    )
  }

  mosquittoTest(`MQTT ${version}: the will of a client that is killed is published${note}`, async () => {
    const broker = await startBroker()
    const reach = { version }
    const watcher = await subscribe(broker, reach, 'watcher', ['-t', 'gone', '-q', '1'])
    const will = ['--will-topic', 'gone', '--will-payload', 'farewell', '--will-qos', '1']
    const victim = await subscribe(broker, reach, 'victim', ['-t', 'x', ...will])
    victim.kill()
    expect(await watcher.lines.next()).toBe('gone 1 0 farewell')
  })

  mosquittoTest(
    `MQTT ${version}: a kept session has what came while its client was away${note}`,
    async () => {
      const broker = await startBroker()
      const reach = { version }
      const session = ['-c', '-q', '1', '-t', 'mail/#', ...(version === '5.0' ? ['-x', '300'] : [])]
      const left = hookRun(broker, 'client.disconnected', 'box')
      const first = await subscribe(broker, reach, 'box', [...session, '-E'])
      await first.finished
      await left
      for (const text of ['one', 'two']) await publish(broker, reach, ['-t', 'mail/1', '-m', text, '-q', '1'])
      const second = await subscribe(broker, reach, 'box', [...session, '-C', '2'])
      expect(await second.lines.take(2)).toEqual(['mail/1 1 0 one', 'mail/1 1 0 two'])
      expect((await second.finished).code).toBe(0)
    },
  )

  mosquittoTest(`MQTT ${version}: a wrong password is refused${note}`, async () => {
    const dir = temporaryDirectory()
    writeFileSync(join(dir, 'users.csv'), 'user_id,password,is_superuser\nann,secret,false\n')
    const database = {
      mechanism: 'password_based',
      backend: 'built_in_database',
      password_hash_algorithm: { name: 'sha256' },
      bootstrap_file: 'users.csv',
    }
    const broker = await startBroker({ authentication: [database] }, dir)
    const message = ['-t', 't', '-m', 'x', '-u', 'ann']
    expect(await publish(broker, { version }, [...message, '-P', 'secret'])).toEqual({ code: 0, stderr: '' })
    const refused = await publish(broker, { version }, [...message, '-P', 'guess'])
    expect(refused.code).not.toBe(0)
    expect(refused.stderr).toMatch(/bad user ?name or password/i)
  })
}

mosquittoTest(`MQTT 5 properties come through${note}`, async () => {
  const broker = await startBroker()
  const reach = { version: '5.0' as const }
  const format = ['-F', '%C|%R|%D|%E|%P|%p']
  const sub = await subscribe(broker, reach, 'sub', ['-t', 't', '-q', '1', '-C', '1', ...format])
  const property = (...words: string[]) => ['-D', 'PUBLISH', ...words]
  await publish(broker, reach, [
    '-t',
    't',
    '-m',
    'x',
    '-q',
    '1',
    ...property('content-type', 'text/csv'),
    ...property('response-topic', 'answers'),
    ...property('correlation-data', '42'),
    ...property('message-expiry-interval', '60'),
    ...property('user-property', 'one', '1'),
    ...property('user-property', 'two', '2'),
    ...property('user-property', 'one', '3'),
  ])
  expect(await sub.lines.next()).toBe('text/csv|answers|42|60|one:1 two:2 one:3|x')
})

mosquittoTest(`mosquitto and mqtt.js talk to each other${note}`, async () => {
  const broker = await startBroker()
  const peer = await connectMqtt(broker, { via: 'wss' })
  await peer.subscribe('from/mosquitto', { qos: 2 })
  const sub = await subscribe(broker, { version: '3.1', via: 'tls' }, 'sub', ['-t', 'from/js', '-q', '2'])
  await publish(broker, { version: '3.1.1' }, ['-t', 'from/mosquitto', '-m', 'hello', '-q', '2'])
  expect(await peer.next()).toMatchObject({ payload: 'hello', qos: 2 })
  await peer.publish('from/js', 'hello too', { qos: 2 })
  expect(await sub.lines.next()).toBe('from/js 2 0 hello too')
})

mosquittoTest(`a client that does not trust the broker's certificate does not connect${note}`, async () => {
  const broker = await startBroker()
  const reach = { version: '5.0', via: 'tls', cafile: inject('certs').strangerCert } as const
  expect((await publish(broker, reach, ['-t', 't', '-m', 'x'])).code).not.toBe(0)
  expect(broker.hub.clientCount).toBe(0)
})
