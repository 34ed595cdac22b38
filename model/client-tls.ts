/** `ssl` of a connection that we make: EMQX's names, and what node:tls takes. */
import { readFile } from 'node:fs/promises'
import { isIP } from 'node:net'
import { type ConnectionOptions, createSecureContext } from 'node:tls'
import Type, { type Static } from 'typebox'
import { configPath } from './config-path.ts'
import { BrokerError, messageOf } from './errors.ts'
import { Secret, Strict } from './schema.ts'

const VERSIONS = { tlsv1: 'TLSv1', 'tlsv1.1': 'TLSv1.1', 'tlsv1.2': 'TLSv1.2', 'tlsv1.3': 'TLSv1.3' } as const

type Version = keyof typeof VERSIONS

const pem = (description: string) => Type.Optional(Type.String({ minLength: 1, description }))

export const clientTls = Strict(
  {
    enable: Type.Boolean({ default: false, description: 'Connect with TLS' }),
    cacertfile: pem('PEM file of the authorities that are trusted. Not set: those that Node knows'),
    certfile: pem('PEM file of the certificate that is shown'),
    keyfile: pem('PEM file of its key'),
    password: Type.Optional(Secret({ description: 'Of the key file. file:///path reads it from a file' })),
    verify: Type.Unsafe<'verify_peer' | 'verify_none'>({
      type: 'string',
      enum: ['verify_peer', 'verify_none'],
      default: 'verify_peer',
      description: "Whether the server's certificate must be trusted and of its host; verify_none takes any",
    }),
    server_name_indication: Type.Optional(
      Type.String({
        minLength: 1,
        description:
          'The name that the certificate must be of. Not set: the host that is connected to. disable: no name is sent, and only the authority is checked',
      }),
    ),
    versions: Type.Array(
      Type.Unsafe<Version>({ type: 'string', enum: Object.keys(VERSIONS), description: 'A version of TLS' }),
      { default: ['tlsv1.3', 'tlsv1.2'], minItems: 1, description: 'Versions of TLS that are spoken' },
    ),
    ciphers: Type.Array(Type.String({ minLength: 1 }), {
      default: [],
      description: 'OpenSSL names in order of preference; empty leaves the choice to Node',
    }),
  },
  { description: 'TLS to the server' },
)

export type ClientTlsConfig = Static<typeof clientTls>

/**
 * What node:tls takes, with the files read and tried.
 * @param option - where the options stand, for errors: `ssl`
 * @param configDir - relative paths start here
 * @returns undefined if TLS is switched off
 * @throws BrokerError CONFIG_INVALID naming option and file, never with the content of a key
 */
export async function readClientTls(
  tls: ClientTlsConfig,
  option: string,
  configDir: string,
): Promise<ConnectionOptions | undefined> {
  if (!tls.enable) return undefined
  const read = (name: 'cacertfile' | 'certfile' | 'keyfile') =>
    readPem(tls[name], `${option}.${name}`, configDir)
  const [ca, cert, key] = await Promise.all([read('cacertfile'), read('certfile'), read('keyfile')])
  const secure = {
    ...(ca === undefined ? {} : { ca: certificatesIn(ca) }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
    ...(tls.password === undefined ? {} : { passphrase: tls.password }),
    ...versionsOf(tls.versions),
    ...(tls.ciphers.length === 0 ? {} : { ciphers: tls.ciphers.join(':') }),
  }
  try {
    createSecureContext(secure)
  } catch (error) {
    throw new BrokerError('CONFIG_INVALID', `${option}: ${messageOf(error)}`)
  }
  return { ...secure, ...namesOf(tls), rejectUnauthorized: tls.verify === 'verify_peer' }
}

/** What the server is told, and what its certificate is compared with. */
function namesOf({ server_name_indication: name }: ClientTlsConfig): ConnectionOptions {
  if (name === undefined) return {}
  if (name === 'disable') return { servername: '', checkServerIdentity: () => undefined }
  return isIP(name) === 0 ? { servername: name } : {}
}

/** node:tls knows a lowest and a highest one; a gap between them is not worth the means to say it. */
function versionsOf(versions: readonly Version[]): ConnectionOptions {
  const chosen = Object.entries(VERSIONS).filter(([name]) => versions.includes(name as Version))
  const [lowest, highest] = [chosen[0]?.[1], chosen.at(-1)?.[1]]
  if (lowest === undefined || highest === undefined) return {}
  return { minVersion: lowest, maxVersion: highest }
}

/** A path, or the text itself. */
async function readPem(
  value: string | undefined,
  option: string,
  configDir: string,
): Promise<string | undefined> {
  if (value === undefined || value.includes('-----BEGIN ')) return value
  const path = configPath(configDir, value)
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch (error) {
    throw new BrokerError('CONFIG_INVALID', `${option}: cannot read ${path}: ${messageOf(error)}`)
  }
  if (text.includes('-----BEGIN ')) return text
  throw new BrokerError('CONFIG_INVALID', `${option}: ${path} is not a PEM file`)
}

/** node:tls wants one per element. */
function certificatesIn(text: string): string[] {
  return text.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [text]
}
