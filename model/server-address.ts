import { BrokerError } from './errors.ts'

export interface ServerAddress {
  readonly host: string
  readonly port: number
}

/**
 * `host`, `host:port`, `[::1]:port`.
 * @param option - named in the error; the text is not repeated, as it may hold a password
 * @throws BrokerError CONFIG_INVALID
 */
export function readServer(text: string, defaultPort: number, option: string): ServerAddress {
  const match = /^(?:\[([^\]]+)\]|([^:@/[\]\s]+))(?::(\d{1,5}))?$/.exec(text.trim())
  const port = Number(match?.[3] ?? defaultPort)
  const host = match?.[1] ?? match?.[2]
  if (host === undefined || port < 1 || port > 65_535)
    throw new BrokerError('CONFIG_INVALID', `${option}: is not host:port`)
  return { host, port }
}

/** Several, with commas between them. @throws BrokerError CONFIG_INVALID */
export function readServers(text: string, defaultPort: number, option: string): ServerAddress[] {
  return text.split(',').map((one) => readServer(one, defaultPort, option))
}

/** `host:port`, as it stands in addresses of all kinds. */
export function formatServer({ host, port }: ServerAddress): string {
  return `${host.includes(':') ? `[${host}]` : host}:${port}`
}
