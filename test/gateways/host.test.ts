import { expect, test } from 'vitest'
import type { GatewayConfig, ListenerConfig } from '../../gateways/config.ts'
import { createContext } from '../../gateways/context.ts'
import { defineGateway, type Gateway, type ListenerSettings } from '../../gateways/gateway.ts'
import { GatewayHost, type GatewayListenerPlan, type HostListener } from '../../gateways/host.ts'
import { stompSchema } from '../../gateways/stomp/config.ts'
import type { Transport } from '../../listeners/transport.ts'
import { silentLogger } from '../../model/log.ts'
import { clientInfo, RecordingReceiver } from '../broker/support.ts'
import { FakeBroker } from './support/fake-broker.ts'
import { FakeTransport } from './support/fake-transport.ts'

class FakeListener implements HostListener {
  readonly request: GatewayListenerPlan
  readonly accept: (transport: Transport) => void
  state: 'new' | 'bound' | 'stopped' = 'new'
  readonly updates: ListenerConfig[] = []
  isCut = false
  /** Nobody is connected through it. */
  isEmpty = true

  constructor(request: GatewayListenerPlan, accept: (transport: Transport) => void) {
    this.request = request
    this.accept = accept
  }

  async start(): Promise<void> {
    if (this.request.config.bind.port === 1) throw new Error('EACCES')
    this.state = 'bound'
  }

  async stop(): Promise<void> {
    this.state = 'stopped'
  }

  closeAll(): void {
    this.isCut = true
  }

  async drained(signal: AbortSignal): Promise<void> {
    if (signal.aborted || this.isEmpty) return
    await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }))
  }

  update({ config }: GatewayListenerPlan): void {
    this.updates.push(config)
  }
}

class FakeGateway implements Gateway<GatewayConfig> {
  readonly accepted: { transport: Transport; settings: ListenerSettings }[] = []
  readonly configs: GatewayConfig[] = []
  readonly ends: string[] = []

  accept(transport: Transport, settings: ListenerSettings): void {
    this.accepted.push({ transport, settings })
  }

  update(config: GatewayConfig): void {
    this.configs.push(config)
  }

  endAll(reason: string): void {
    this.ends.push(reason)
  }
}

function listener(port: number, changes: Partial<ListenerConfig> = {}): ListenerConfig {
  return { enable: true, bind: { host: '127.0.0.1', port }, enable_authn: true, ...changes }
}

function config(listeners: GatewayConfig['listeners'], changes: Partial<GatewayConfig> = {}): GatewayConfig {
  return {
    enable: true,
    enable_stats: true,
    idle_timeout: 30_000,
    mountpoint: '',
    clientinfo_override: {},
    listeners,
    ...changes,
  }
}

function hostOf(first: GatewayConfig) {
  const listeners: FakeListener[] = []
  const made: FakeGateway[] = []
  const module = defineGateway<GatewayConfig>({
    name: 'demo',
    protocol: 'demo',
    listenerTypes: ['tcp', 'tls'],
    schema: stompSchema,
    create() {
      const gateway = new FakeGateway()
      made.push(gateway)
      return gateway
    },
  })
  const broker = new FakeBroker()
  const context = createContext('demo', { connect: (...args) => broker.connect(...args), log: silentLogger })
  const host = new GatewayHost(module, first, context, (request, accept) => {
    const made = new FakeListener(request, accept)
    listeners.push(made)
    return made
  })
  return { host, listeners, made, broker }
}

test('every enabled listener is bound, TLS under the name ssl', async () => {
  const { host, listeners } = hostOf(
    config({
      tcp: { default: listener(1883), off: listener(2, { enable: false }) },
      ssl: { secure: listener(8883) },
    }),
  )
  await host.start()
  expect(host.listenerIds).toEqual(['demo:tcp:default', 'demo:ssl:secure'])
  expect(listeners.map((one) => one.request.kind)).toEqual(['tcp', 'tls'])
  expect(host.status).toBe('running')
})

test('a gateway that is not enabled binds nothing', async () => {
  const { host, listeners } = hostOf(config({ tcp: { default: listener(1883) } }, { enable: false }))
  await host.start()
  expect(listeners).toEqual([])
  expect(host.status).toBe('stopped')
})

test('peers come with the settings their listener has now', async () => {
  const { host, listeners, made } = hostOf(config({ tcp: { default: listener(1883) } }))
  await host.start()
  const transport = new FakeTransport('demo:tcp:default')
  listeners[0]?.accept(transport)
  await host.update(config({ tcp: { default: listener(1883, { mountpoint: 'm/', enable_authn: false }) } }))
  listeners[0]?.accept(transport)
  expect(made[0]?.accepted.map((one) => one.settings)).toMatchObject([
    { enableAuthn: true, mountpoint: undefined },
    { enableAuthn: false, mountpoint: 'm/' },
  ])
})

test('with enable_stats false, clients that log in from then on have no statistics', async () => {
  const { host, broker } = hostOf(config({}))
  await host.start()
  const options = { cleanStart: true, expiryIntervalMs: 0, receiveMaximum: 1 }
  for (const enable_stats of [true, false, true]) {
    await host.update(config({}, { enable_stats }))
    const login = { client: clientInfo('c'), password: undefined, enableAuthn: true }
    await host.context.connect(login, options, new RecordingReceiver())
  }
  expect(broker.clients.map((client) => client.options)).toEqual([
    options,
    { ...options, hasStats: false },
    options,
  ])
})

test('if one listener cannot be bound, start rejects and leaves nothing open', async () => {
  const { host, listeners } = hostOf(config({ tcp: { good: listener(1883), bad: listener(1) } }))
  await expect(host.start()).rejects.toMatchObject({
    code: 'LISTEN_FAILED',
    message: 'listener demo:tcp:bad: EACCES',
  })
  expect(listeners.map((one) => one.state)).toEqual(['stopped', 'new'])
  expect(host.status).toBe('stopped')
  expect(host.listenerIds).toEqual([])
})

test('an update touches only the listeners whose type, name or bind has changed', async () => {
  const { host, listeners, made } = hostOf(
    config({ tcp: { same: listener(1883), moved: listener(1884), gone: listener(1885) } }),
  )
  await host.start()
  const next = config({ tcp: { same: listener(1883), moved: listener(2884), fresh: listener(1885) } })
  await host.update(next)
  const states = listeners.map((one) => [
    one.request.name,
    one.request.config.bind.port,
    one.state,
    one.isCut,
  ])
  expect(states).toEqual([
    ['same', 1883, 'bound', false],
    ['moved', 1884, 'stopped', false],
    ['gone', 1885, 'stopped', true],
    ['moved', 2884, 'bound', false],
    ['fresh', 1885, 'bound', false],
  ])
  expect(listeners[0]?.updates).toHaveLength(1)
  expect(made).toHaveLength(1)
  expect(made[0]?.configs).toEqual([next])
})

test('a listener that cannot be bound in an update does not keep the others from it', async () => {
  const { host } = hostOf(config({ tcp: { one: listener(1883) } }))
  await host.start()
  const update = host.update(config({ tcp: { one: listener(1883), bad: listener(1), two: listener(1884) } }))
  await expect(update).rejects.toMatchObject({ code: 'LISTEN_FAILED' })
  expect(host.listenerIds).toEqual(['demo:tcp:one', 'demo:tcp:two'])
})

test('enable can be switched off and on again', async () => {
  const { host, listeners, made } = hostOf(config({ tcp: { default: listener(1883) } }))
  await host.start()
  await host.update(config({ tcp: { default: listener(1883) } }, { enable: false }))
  expect(host.status).toBe('stopped')
  expect(made[0]?.ends).toEqual(['normal'])
  await host.update(config({ tcp: { default: listener(1883) } }))
  expect(listeners.map((one) => one.state)).toEqual(['stopped', 'bound'])
  expect(made).toHaveLength(2)
})

test('stop tells the clients, waits for them, and cuts those who are left when the signal aborts', async () => {
  const { host, listeners, made } = hostOf(config({ tcp: { default: listener(1883) } }))
  await host.start()
  const [only] = listeners as [FakeListener]
  only.isEmpty = false
  const controller = new AbortController()
  const stopping = Promise.all([host.stop(controller.signal), host.stop(controller.signal)])
  await expect.poll(() => made[0]?.ends).toEqual(['server_shutting_down'])
  expect(only).toMatchObject({ state: 'stopped', isCut: false })
  controller.abort()
  await stopping
  expect(only.isCut).toBe(true)
})

test('a peer that comes after the end is closed', async () => {
  const { host, listeners } = hostOf(config({ tcp: { default: listener(1883) } }))
  await host.start()
  await host.stop(AbortSignal.abort())
  const transport = new FakeTransport()
  listeners[0]?.accept(transport)
  expect(transport.state).toBe('destroyed')
})
