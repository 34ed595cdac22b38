/** `ssl_options` of a listener, made into what node:tls takes. */
import { constants } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { createSecureContext, DEFAULT_CIPHERS, type SecureContextOptions } from 'node:tls'
import { BrokerError, messageOf } from '../model/errors.ts'

export type TlsVersion = 'tlsv1' | 'tlsv1.1' | 'tlsv1.2' | 'tlsv1.3'

export interface TlsOptions {
  /** PEM text or the path of a PEM file; so are the next ones. */
  cacertfile: string | undefined
  certfile: string | undefined
  keyfile: string | undefined
  dhfile: string | undefined
  /** Of the key. */
  password: string | undefined
  /** Ask for a client certificate; a wrong one is refused. */
  verifyPeer: boolean
  /** With `verifyPeer`: no certificate is refused too. */
  failIfNoPeerCert: boolean
  /** Most certificates between the client's own and a trusted one. */
  depth: number
  versions: readonly TlsVersion[]
  /** OpenSSL names in order of preference; empty = Node's choice. */
  ciphers: readonly string[]
  honorCipherOrder: boolean
  handshakeTimeoutMs: number
  /** TLS 1.2 resumption by session id. */
  reuseSessions: boolean
  sessionTickets: 'disabled' | 'stateless'
  /** A certificate of `cacertfile` is trusted even if it did not sign itself. */
  partialChain: boolean
  /** TLS 1.2: the client may ask for new keys (node:tls limits how often). */
  clientRenegotiation: boolean
}

type FileOption = 'cacertfile' | 'certfile' | 'keyfile' | 'dhfile'

const VERSIONS = [
  { name: 'tlsv1', node: 'TLSv1', off: constants.SSL_OP_NO_TLSv1 },
  { name: 'tlsv1.1', node: 'TLSv1.1', off: constants.SSL_OP_NO_TLSv1_1 },
  { name: 'tlsv1.2', node: 'TLSv1.2', off: constants.SSL_OP_NO_TLSv1_2 },
  { name: 'tlsv1.3', node: 'TLSv1.3', off: constants.SSL_OP_NO_TLSv1_3 },
] as const

const TLS13_CIPHERS = ['TLS_AES_256_GCM_SHA384', 'TLS_CHACHA20_POLY1305_SHA256', 'TLS_AES_128_GCM_SHA256']

/**
 * Reads the files and proves that OpenSSL takes them, so that a reload with a broken
 * certificate changes nothing.
 * @throws BrokerError CONFIG_INVALID naming option and file; never with the content of a key
 */
export function readSecureOptions(options: TlsOptions): SecureContextOptions {
  const secure = { ...readFiles(options), ...protocolOptions(options) }
  try {
    createSecureContext(secure)
  } catch (cause) {
    throw wrongTogether(options, cause)
  }
  return secure
}

/** Resumed sessions hide the client's chain from us, so whoever checks certificates checks them every time. */
export function resumes(options: TlsOptions): { tickets: boolean; sessionIds: boolean } {
  if (options.verifyPeer) return { tickets: false, sessionIds: false }
  return { tickets: options.sessionTickets === 'stateless', sessionIds: options.reuseSessions }
}

function readFiles(options: TlsOptions): SecureContextOptions {
  const psk = options.ciphers.some((name) => name.includes('PSK'))
  if (options.verifyPeer && options.cacertfile === undefined) {
    throw new BrokerError('CONFIG_INVALID', 'ssl_options.verify: verify_peer needs a cacertfile')
  }
  if (options.failIfNoPeerCert && !options.verifyPeer) {
    throw new BrokerError('CONFIG_INVALID', 'ssl_options.fail_if_no_peer_cert needs verify: verify_peer')
  }
  if (!psk && (options.certfile === undefined || options.keyfile === undefined)) {
    throw new BrokerError('CONFIG_INVALID', 'ssl_options: certfile and keyfile are needed (or PSK ciphers)')
  }
  return {
    ...given('ca', readCaBundle(options.cacertfile)),
    ...given('cert', readPem('certfile', options.certfile)),
    ...given('key', readPem('keyfile', options.keyfile)),
    ...given('dhparam', readPem('dhfile', options.dhfile)),
    ...given('passphrase', options.password),
  }
}

function protocolOptions(options: TlsOptions): SecureContextOptions {
  const chosen = VERSIONS.filter((version) => options.versions.includes(version.name))
  const [lowest, highest] = [chosen[0], chosen.at(-1)]
  if (lowest === undefined || highest === undefined) {
    throw new BrokerError('CONFIG_INVALID', 'ssl_options.versions: at least one is needed')
  }
  const { tickets } = resumes(options)
  let secureOptions = tickets ? 0 : constants.SSL_OP_NO_TICKET
  if (!options.clientRenegotiation) secureOptions |= constants.SSL_OP_NO_RENEGOTIATION
  for (const version of VERSIONS) if (!chosen.includes(version)) secureOptions |= version.off
  return {
    minVersion: lowest.node,
    maxVersion: highest.node,
    ciphers: cipherText(options),
    honorCipherOrder: options.honorCipherOrder,
    secureOptions,
    ...(options.partialChain ? { allowPartialTrustChain: true } : {}),
  }
}

function cipherText({ ciphers, versions }: TlsOptions): string {
  const chosen = ciphers.length === 0 ? [DEFAULT_CIPHERS] : [...ciphers]
  if (
    versions.includes('tlsv1.3') &&
    ciphers.length > 0 &&
    !ciphers.some((name) => name.startsWith('TLS_'))
  ) {
    chosen.unshift(...TLS13_CIPHERS)
  }
  // OpenSSL 3 keeps TLS 1.0 and 1.1 for those who say that they know they are weak.
  if (versions.includes('tlsv1') || versions.includes('tlsv1.1')) chosen.push('@SECLEVEL=0')
  return chosen.join(':')
}

function given<K extends string, V>(key: K, value: V | undefined): { [P in K]?: V } {
  return value === undefined ? {} : ({ [key]: value } as { [P in K]: V })
}

function readPem(option: FileOption, value: string | undefined): string | undefined {
  if (value === undefined || value === '') return undefined
  if (value.includes('-----BEGIN ')) return value
  let text: string
  try {
    text = readFileSync(value, 'utf8')
  } catch (cause) {
    throw new BrokerError(
      'CONFIG_INVALID',
      `ssl_options.${option}: cannot read ${value}: ${whyUnread(value, cause)}`,
      { cause },
    )
  }
  if (!text.includes('-----BEGIN ')) {
    throw new BrokerError('CONFIG_INVALID', `ssl_options.${option}: ${value} is not a PEM file`)
  }
  return text
}

/** node:tls wants one CA per element. */
function readCaBundle(value: string | undefined): string[] | undefined {
  const text = readPem('cacertfile', value)
  if (text === undefined) return undefined
  const certificates = text.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g)
  if (certificates === null) {
    throw new BrokerError('CONFIG_INVALID', `ssl_options.cacertfile: no certificate in ${nameOf(value)}`)
  }
  return certificates
}

/** OpenSSL says what is wrong, but not with which file: tries them one by one. */
function wrongTogether(options: TlsOptions, cause: unknown): BrokerError {
  const files: [FileOption, SecureContextOptions][] = [
    ['cacertfile', given('ca', readCaBundle(options.cacertfile))],
    ['certfile', given('cert', readPem('certfile', options.certfile))],
    [
      'keyfile',
      { ...given('key', readPem('keyfile', options.keyfile)), ...given('passphrase', options.password) },
    ],
    ['dhfile', given('dhparam', readPem('dhfile', options.dhfile))],
  ]
  for (const [option, alone] of files) {
    try {
      createSecureContext(alone)
    } catch (error) {
      const text = `ssl_options.${option}: ${nameOf(options[option])}: ${messageOf(error)}`
      return new BrokerError('CONFIG_INVALID', text, { cause: error })
    }
  }
  const what = /cipher/i.test(messageOf(cause))
    ? `ciphers: ${options.ciphers.join(':')}`
    : `certfile and keyfile: ${nameOf(options.certfile)} and ${nameOf(options.keyfile)}`
  return new BrokerError('CONFIG_INVALID', `ssl_options.${what}: ${messageOf(cause)}`, { cause })
}

function nameOf(value: string | undefined): string {
  return value === undefined ? 'nothing' : value.includes('-----BEGIN ') ? 'the PEM text' : value
}

/** Relative paths are a matter of where the broker was started, so the whole path is told. */
function whyUnread(path: string, error: unknown): string {
  const isMissing = error instanceof Error && 'code' in error && error.code === 'ENOENT'
  return isMissing ? `there is no file ${resolve(path)}` : messageOf(error)
}
