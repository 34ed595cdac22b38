/** Options that most connectors have, to be spread into the schemas of authenticators and sources. */
import Type from 'typebox'
import { clientTls } from '../model/client-tls.ts'
import { Count, Duration, Secret } from '../model/schema.ts'

/** Node fires a longer timer at once. */
const MAX_TIMER_MS = 2 ** 31 - 1

export const serverField = (defaultPort: number) =>
  Type.String({
    minLength: 1,
    description: `host:port of the server; the port is ${defaultPort} if it is not there`,
  })

export const poolFields = {
  pool_size: Count(8, { minimum: 1, maximum: 1000, description: 'Connections at the same time at most' }),
  connect_timeout: Duration('15s', { description: 'A connection that takes longer to be made has failed' }),
  auto_reconnect: Type.Boolean({
    default: true,
    description:
      'Look for a lost server until it is there again, and refuse what needs it at once meanwhile; otherwise it is tried again each time that it is needed',
  }),
  ssl: clientTls,
}

export const queryTimeoutField = {
  query_timeout: Duration('5s', { description: 'An answer that takes longer has failed' }),
}

export const passwordField = Type.Optional(
  Secret({ description: 'For the server. file:///path reads it from a file' }),
)

export interface PoolConfig {
  pool_size: number
  connect_timeout: number
  auto_reconnect: boolean
}

/** `infinity` as drivers and timers understand it. */
export function withFiniteTimes<C extends object>(config: C): C {
  const entries = Object.entries(config).map(([name, value]: [string, unknown]) => [
    name,
    value === Number.POSITIVE_INFINITY ? MAX_TIMER_MS : value,
  ])
  return Object.fromEntries(entries) as C
}

/** What `Calls` is told of the options that most connectors have. */
export function callLimits(config: PoolConfig, timeoutMs: number) {
  return {
    maxInflight: config.pool_size,
    timeoutMs,
    connectTimeoutMs: config.connect_timeout,
    reconnects: config.auto_reconnect,
  }
}
