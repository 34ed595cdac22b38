/** Tokens of another make, and authenticators that look at them. */
import { createServer, type RequestListener } from 'node:http'
import { createServer as createSecureServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { type JWTPayload, SignJWT } from 'jose'
import { onTestFinished } from 'vitest'
import type { AuthenticatorContext } from '../../authn/authenticator.ts'
import { authentication, authenticatorList } from '../../authn/config.ts'
import type { JwtConfig } from '../../authn/jwt/config.ts'
import { jwtTokens } from '../../authn/jwt/jwt.ts'
import { WorkGate } from '../../authn/work-gate.ts'
import { parseAcl } from '../../authz/json-rule.ts'
import { loadConfig } from '../../config/load.ts'
import { silentLogger } from '../../model/log.ts'
import { Strict } from '../../model/schema.ts'
import { loginOf, recordingLog } from './fixtures.ts'

export const SECRET = 'a-secret-of-thirty-two-bytes-or-more'

type Key = Parameters<SignJWT['sign']>[0]

export function sign(
  claims: JWTPayload,
  { key = Buffer.from(SECRET) as Key, alg = 'HS256', kid }: { key?: Key; alg?: string; kid?: string } = {},
): Promise<string> {
  const header = kid === undefined ? { alg, typ: 'JWT' } : { alg, typ: 'JWT', kid }
  return new SignJWT(claims).setProtectedHeader(header).sign(key)
}

/** As the loader makes it of what an operator writes. */
export function configOf(written: object): JwtConfig {
  const overrides = { authentication: [{ mechanism: 'jwt', ...written }] }
  const { config } = loadConfig({ schema: Strict({ authentication }), file: undefined, env: {}, overrides })
  return authenticatorList(config.authentication)[0] as JwtConfig
}

let defaults: JwtConfig | undefined

/** Reading a config takes a while, so this is done once. */
export function withDefaults(fields: Partial<JwtConfig>): JwtConfig {
  defaults ??= configOf({})
  return { ...defaults, ...fields }
}

export const SHARED: Partial<JwtConfig> = { algorithm: 'hmac-based', secret: SECRET }

export function create(config: JwtConfig, context: Partial<AuthenticatorContext> = {}) {
  return jwtTokens.create(config, {
    log: silentLogger,
    dataDir: '.',
    configDir: '.',
    chain: 'mqtt:global',
    hashing: new WorkGate(),
    readAcl: parseAcl,
    ...context,
  })
}

/** @param fields - of its config */
export async function authenticatorOf(fields: Partial<JwtConfig> = SHARED, now: () => number = Date.now) {
  const { log, lines } = recordingLog()
  const authenticator = await create(withDefaults(fields), { log, now })
  onTestFinished(() => authenticator.close())
  const logIn = (token: string | undefined, login: Parameters<typeof loginOf>[0] = {}) =>
    authenticator.authenticate(
      loginOf({ password: token === undefined ? undefined : Buffer.from(token), ...login }),
      new AbortController().signal,
    )
  return { authenticator, logIn, lines }
}

/**
 * A service with a key set that can be changed.
 * @param tls - PEM texts; without them it speaks plain HTTP
 */
export async function keyServer(keys: readonly unknown[], tls?: { cert: string; key: string }) {
  const state = {
    status: 200,
    body: JSON.stringify({ keys }),
    requests: 0,
    headers: {} as NodeJS.Dict<string | string[]>,
  }
  const serve: RequestListener = (request, response) => {
    state.requests++
    state.headers = request.headers
    response.writeHead(state.status, { 'content-type': 'application/json' }).end(state.body)
  }
  const server = tls === undefined ? createServer(serve) : createSecureServer(tls, serve)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => {
    server.closeAllConnections()
    server.close()
  })
  const { port } = server.address() as AddressInfo
  return {
    state,
    url: `${tls === undefined ? 'http' : 'https'}://127.0.0.1:${port}/keys.json?tenant=a`,
    replace(next: readonly unknown[]): void {
      state.body = JSON.stringify({ keys: next })
    },
  }
}
