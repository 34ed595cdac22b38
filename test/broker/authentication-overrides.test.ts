/** The client id and the zone that authentication gives a client. */
import { connectAsync, type MqttClient } from 'mqtt'
import { describe, expect, onTestFinished, test } from 'vitest'
import { reauthenticate } from '../../broker/authentication.ts'
import type { Hub } from '../../broker/hub.ts'
import type { Principal } from '../../model/access.ts'
import { Place } from '../control/support.ts'
import { connect, startHub } from './support.ts'

describe('over MQTT', () => {
  async function start(principalOf: (username: string) => Partial<Principal>) {
    const zones = { narrow: { mqtt: { max_subscriptions: 1, server_keepalive: 77 } } }
    const place = new Place({ authentication: [], allow_anonymous: true, zones })
    const broker = await place.start()
    broker.hooks.put('client.authenticate', 'test', (_, { client }) => ({
      stop: { kind: 'allow', principal: { isSuperuser: false, ...principalOf(client.username ?? '') } },
    }))
    const logIn = async (clientId: string, username: string): Promise<MqttClient> => {
      const port = place.log.addressOf('tcp:default')?.port ?? -1
      const options = { port, clientId, username, protocolVersion: 5, reconnectPeriod: 0 } as const
      const client = await connectAsync({ host: '127.0.0.1', ...options })
      onTestFinished(() => void client.end(true))
      return client
    }
    return { broker, logIn }
  }

  test('the client is who authentication says, and takes over whoever was that', async () => {
    const { broker, logIn } = await start((username) => ({ clientId: `id-of-${username}` }))
    const first = await logIn('one', 'ann')
    const ended = new Promise<void>((resolve) => first.once('close', () => resolve()))
    await logIn('two', 'ann')
    await ended
    await logIn('two', 'bob')
    const clients = [...broker.hub.clients()].map(({ info: { key, clientId } }) => `${key} ${clientId}`)
    expect(new Set(clients)).toEqual(new Set(['id-of-ann id-of-ann', 'id-of-bob id-of-bob']))
  })

  test('the client is in the zone that authentication says, if there is one of that name', async () => {
    const { broker, logIn } = await start((zone) => ({ zone }))
    const narrow = await logIn('a', 'narrow')
    await expect(narrow.subscribeAsync(['x', 'y'])).rejects.toThrow('Quota exceeded')
    const unknown = await logIn('b', 'nowhere')
    expect(await unknown.subscribeAsync(['x', 'y'])).toHaveLength(2)
    const infoOf = (id: string) => broker.hub.client(id)?.info
    expect(infoOf('a')).toMatchObject({ zone: 'narrow', keepAliveSeconds: 77 })
    expect(infoOf('b')).toMatchObject({ zone: 'default', keepAliveSeconds: 60 })
    expect(narrow.keepalive).toBe(77)
  })
})

describe('in the hub', () => {
  async function start(principal: Partial<Principal>): Promise<{ hub: Hub; principal: Partial<Principal> }> {
    const hub = await startHub()
    onTestFinished(() => hub.stop())
    hub.hooks.put('client.authenticate', 'test', () => ({
      stop: { kind: 'allow', principal: { isSuperuser: false, ...principal } },
    }))
    return { hub, principal }
  }

  test('clients of gateways stay who they are', async () => {
    const { hub } = await start({ clientId: 'other', zone: 'default' })
    const client = { key: 'stomp\0a', gateway: 'stomp', zone: 'of-the-gateway' }
    const { client: connected } = await connect(hub, 'a', {}, client)
    expect(connected.info).toMatchObject({ clientId: 'a', ...client })
  })

  test('authenticating again makes nobody somebody else', async () => {
    const { hub, principal } = await start({ clientId: 'b' })
    const { client } = await connect(hub, 'a')
    expect(client.info.clientId).toBe('b')
    const login = { client: client.info, password: undefined, enableAuthn: true, authMethod: 'X' } as const
    expect(await reauthenticate(hub, client, login)).toMatchObject({ kind: 'admitted' })
    principal.clientId = 'c'
    expect(await reauthenticate(hub, client, login)).toEqual({ kind: 'barred', reason: 0x87 })
    expect(client.info).toMatchObject({ clientId: 'b', key: 'b' })
  })
})
