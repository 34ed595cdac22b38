import { expect, onTestFinished, test } from 'vitest'
import type { Connector, ConnectorContext } from '../../connectors/connector.ts'
import { resettingRelay } from '../support/resetting-relay.ts'
import { contextOf, Listener } from './support.ts'

/** A backend that a test may do everything to. */
export interface Backend {
  readonly address: string
  kill(): Promise<void>
  restart(): Promise<void>
  /** It keeps its connections and answers nothing. */
  pause(): void
  proceed(): void
}

export interface Contract<C extends Connector> {
  backend(): Backend
  /** A right secret that must not be seen in any text. */
  readonly secret: string
  open(
    address: string,
    more: { timeoutMs?: number; password?: string; poolSize?: number; reconnects?: boolean },
    context: ConnectorContext,
  ): Promise<C>
  /** One call that works. */
  ask(connector: C, signal?: AbortSignal): Promise<unknown>
  /** There is no password that could be wrong. */
  readonly hasNoLogin?: boolean
}

const OPENINGS = 60
/** Of what a connector sends at its start: more than any of them needs before its first answer. */
const MAX_PIECES = 12

const failure = { name: 'BrokerError', code: 'BACKEND_FAILED' }

/** What holds for every connector. */
export function connectorContract<C extends Connector>(name: string, contract: Contract<C>): void {
  const ask = (connector: C, signal?: AbortSignal) => contract.ask(connector, signal)
  const open = async (more: Parameters<typeof contract.open>[1] = {}, context = contextOf()) => {
    const connector = await contract.open(contract.backend().address, more, context)
    onTestFinished(() => connector.close())
    return connector
  }

  test(`${name}: a call is answered, counted and timed`, async () => {
    const connector = await open()
    await ask(connector)
    expect(connector.status).toEqual({ state: 'connected', lastError: undefined })
    expect(connector.counters).toMatchObject({ total: 1, success: 1, failed: 0, inflight: 0, waiting: 0 })
    expect(connector.counters.latencyMs).toBeGreaterThan(0)
  })

  test(`${name}: more calls than connections wait for their turn`, async () => {
    const connector = await open({ poolSize: 2 })
    await Promise.all(Array.from({ length: 20 }, () => ask(connector)))
    expect(connector.counters).toMatchObject({ success: 20, inflight: 0, waiting: 0 })
  })

  test(`${name}: a backend that is away at the start is found later, and said to be lost and back once`, async () => {
    const backend = contract.backend()
    await backend.kill()
    const listener = new Listener()
    const connector = await open({}, contextOf(listener))
    await listener.until('warn')
    expect(connector.status.state).toBe('disconnected')
    await expect(ask(connector)).rejects.toMatchObject(failure)
    await expect(ask(connector)).rejects.toThrow('is not connected')
    await backend.restart()
    await listener.until('info')
    await ask(connector)
    expect(connector.status).toEqual({ state: 'connected', lastError: undefined })
    expect(listener.said.map(({ level }) => level)).toEqual(['warn', 'info'])
  })

  test(`${name}: a backend that comes back after it was lost is used again`, async () => {
    const backend = contract.backend()
    const listener = new Listener()
    const connector = await open({}, contextOf(listener))
    await ask(connector)
    await backend.kill()
    await expect(ask(connector)).rejects.toMatchObject(failure)
    await listener.until('warn')
    await backend.restart()
    await listener.until('info')
    await ask(connector)
  })

  test(`${name}: a connection that is reset, at whatever point, is replaced`, async () => {
    const { address } = contract.backend()
    const port = /:(\d+)/.exec(address)?.[1] ?? ''
    for (let pieces = 0; ; pieces++) {
      const relay = await resettingRelay(Number(port), pieces)
      const connector = await contract.open(address.replace(port, String(relay.port)), {}, contextOf())
      const isAnswered = () => answered(ask(connector))
      // Its first look has come to an end.
      await expect.poll(() => relay.hasReset || connector.status.state === 'connected').toBe(true)
      while (!relay.hasReset && pieces < MAX_PIECES) await isAnswered()
      await expect.poll(isAnswered, { message: `after ${pieces} pieces` }).toBe(true)
      await connector.close()
      relay.close()
      if (!relay.hasReset) break
    }
  })

  test(`${name}: without auto_reconnect a lost backend is tried again when it is needed`, async () => {
    const backend = contract.backend()
    await backend.kill()
    const listener = new Listener()
    const connector = await open({ reconnects: false }, contextOf(listener))
    await listener.until('warn')
    await backend.restart()
    expect(connector.status.state).toBe('disconnected')
    await ask(connector)
    expect(connector.status.state).toBe('connected')
  })

  test(`${name}: an answer that takes too long is BACKEND_TIMEOUT, and the next call works`, async () => {
    const backend = contract.backend()
    const connector = await open({ timeoutMs: 300 })
    await ask(connector)
    backend.pause()
    onTestFinished(() => backend.proceed())
    await expect(ask(connector)).rejects.toMatchObject({ code: 'BACKEND_TIMEOUT' })
    backend.proceed()
    await expect.poll(() => answered(ask(connector))).toBe(true)
    expect(connector.counters).toMatchObject({ timeouts: 1, inflight: 0 })
  })

  test(`${name}: a call whose client has gone ends at once`, async () => {
    const backend = contract.backend()
    const connector = await open()
    await ask(connector)
    backend.pause()
    onTestFinished(() => backend.proceed())
    const leaving = new AbortController()
    const call = ask(connector, leaving.signal)
    leaving.abort()
    await expect(call).rejects.toMatchObject(failure)
    expect(connector.counters).toMatchObject({ abandoned: 1, failed: 0 })
  })

  test(`${name}: closing it ends the calls under way`, async () => {
    const backend = contract.backend()
    const connector = await open()
    await ask(connector)
    backend.pause()
    onTestFinished(() => backend.proceed())
    const calls = [ask(connector), ask(connector)].map((call) => expect(call).rejects.toMatchObject(failure))
    await connector.close()
    await Promise.all(calls)
    await connector.close()
    await expect(ask(connector)).rejects.toThrow('was closed')
    expect(connector.status.state).toBe('disconnected')
  })

  test(`${name}: opened and closed again and again it leaves no connection behind`, async () => {
    const sockets = () =>
      process.getActiveResourcesInfo().filter((kind) => /^(TCP|TLS|Pipe)/.test(kind)).length
    await (await open()).close()
    const before = sockets()
    const rejections: unknown[] = []
    const note = (reason: unknown) => void rejections.push(reason)
    process.on('unhandledRejection', note)
    onTestFinished(() => void process.off('unhandledRejection', note))
    for (let i = 0; i < OPENINGS; i++) {
      const connector = await contract.open(contract.backend().address, {}, contextOf())
      // Idle, in the middle of connecting, in the middle of a call.
      if (i % 3 === 0) await ask(connector)
      const call = i % 3 === 1 ? ask(connector).catch(() => {}) : undefined
      await connector.close()
      await call
    }
    await expect.poll(sockets).toBeLessThanOrEqual(before)
    expect(rejections).toEqual([])
  })

  test(`${name}: a queue that is full refuses, and the others are answered`, async () => {
    const connector = await open({ poolSize: 1 }, contextOf(new Listener(), { maxWaiting: 1 }))
    const calls = await Promise.allSettled([ask(connector), ask(connector), ask(connector)])
    expect(calls.map(({ status }) => status)).toEqual(['fulfilled', 'fulfilled', 'rejected'])
    expect(connector.counters.dropped).toBe(1)
  })

  test.skipIf(contract.hasNoLogin)(
    `${name}: a wrong password is a failure whose text does not hold it`,
    async () => {
      const listener = new Listener()
      const connector = await open({ password: 'not-the-right-one' }, contextOf(listener))
      const error: unknown = await ask(connector).catch((reason: unknown) => reason)
      expect(error).toMatchObject(failure)
      await listener.until('warn')
      const texts = [String(error), JSON.stringify(listener.said), JSON.stringify(connector.status)].join()
      expect(texts).not.toContain('not-the-right-one')
      expect(texts).not.toContain(contract.secret)
    },
  )
}

function answered(call: Promise<unknown>): Promise<boolean> {
  return call.then(
    () => true,
    () => false,
  )
}
