/** What a login sees of a change of the authenticator that is deciding it. */
import { expect, onTestFinished, test } from 'vitest'
import { Authn } from '../../authn/index.ts'
import { HookBus } from '../../hooks/bus.ts'
import { silentLogger } from '../../model/log.ts'
import { type Answer, HttpService } from '../support/http-server.ts'
import { readConfig } from './authenticator-contract.ts'
import { ALLOW, IGNORE, loginOf, NOT_AUTHORIZED, temporaryDir } from './fixtures.ts'

/** A service that answers nobody before it is told to. */
async function slowService(answer: Answer) {
  const service = await HttpService.start()
  onTestFinished(() => service.stop())
  let release = () => {}
  const released = new Promise<void>((resolve) => (release = resolve))
  const asked = new Promise<void>((isAsked) => {
    service.respond = async () => {
      isAsked()
      await released
      return answer
    }
  })
  return { service, asked, release }
}

async function start(url: string) {
  const dir = temporaryDir()
  const configOf = (target: string) => ({
    global: [readConfig({ mechanism: 'password_based', backend: 'http', method: 'post', url: target })],
  })
  const authn = await Authn.create(configOf(url), { log: silentLogger, dataDir: dir, configDir: dir })
  onTestFinished(() => authn.close())
  const bus = new HookBus()
  authn.attach(bus)
  return {
    login: () => bus.fold('client.authenticate', IGNORE, loginOf()),
    moveTo: (target: string) => authn.update(configOf(target)),
    authn,
  }
}

test('a login that is being decided is decided by the backend that was asked, later ones by the new', async () => {
  const { service: before, asked, release } = await slowService({ status: 204 })
  const after = await HttpService.start()
  onTestFinished(() => after.stop())
  after.respond = () => ({ headers: { 'content-type': 'application/json' }, body: '{"result":"deny"}' })
  const { login, moveTo } = await start(before.url)

  const early = login()
  await asked
  await moveTo(after.url)
  expect(await login()).toEqual(NOT_AUTHORIZED)
  release()
  expect(await early).toEqual(ALLOW)
  expect(before.asked).toHaveLength(1)
})

test('a replaced backend is let go of once nobody waits for it, and with the rest at the end', async () => {
  const { service: before, asked } = await slowService({ status: 204 })
  const { login, moveTo, authn } = await start(before.url)
  const [old] = authn.chains.get('mqtt:global')?.links ?? []
  const early = login()
  await asked
  await moveTo('http://127.0.0.1:1/')
  expect(old?.authenticator.status?.state).toBe('connected')
  await authn.close()
  expect(await early).toEqual(NOT_AUTHORIZED)
  expect(old?.authenticator.status?.state).toBe('disconnected')
})
