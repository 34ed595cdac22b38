import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import type { MaybePromise } from '../../model/async.ts'
import { BrokerError, messageOf } from '../../model/errors.ts'
import type { DtlsOptions } from '../datagram-options.ts'
import type { ContextOptions, Native, NativeContext } from './native.ts'

/** The key of a PSK identity; undefined = unknown, which fails the handshake. */
export type DtlsPskLookup = (identity: string) => MaybePromise<Uint8Array | undefined>

/** What survives a reload, so that cookies and tickets that are under way stay good. */
export interface DtlsMemory {
  cookieSecret: Buffer
  ticketKeys: Buffer
}

export function createDtlsMemory(): DtlsMemory {
  return { cookieSecret: randomBytes(32), ticketKeys: randomBytes(80) }
}

const WITH_CERTIFICATE = [
  'ECDHE-ECDSA-AES128-GCM-SHA256',
  'ECDHE-RSA-AES128-GCM-SHA256',
  'ECDHE-ECDSA-AES256-GCM-SHA384',
  'ECDHE-RSA-AES256-GCM-SHA384',
  'ECDHE-ECDSA-CHACHA20-POLY1305',
  'ECDHE-RSA-CHACHA20-POLY1305',
  'ECDHE-ECDSA-AES128-CCM',
  'ECDHE-ECDSA-AES128-CCM8', // RFC 7252 9.1.3.3, the one suite that every CoAP device with a certificate has
]
const WITH_PSK = [
  'ECDHE-PSK-CHACHA20-POLY1305',
  'ECDHE-PSK-AES128-CBC-SHA256',
  'PSK-AES256-GCM-SHA384',
  'PSK-AES128-GCM-SHA256',
  'PSK-AES128-CCM',
  'PSK-AES128-CCM8', // RFC 7252 9.1.3.1
  'PSK-AES128-CBC-SHA256',
]
/** OpenSSL's security level 0, which some suites need, would let SHA-1 in here too. */
const SIGNATURES = ['ECDSA', 'RSA-PSS', 'RSA']
  .flatMap((kind) => ['SHA256', 'SHA384', 'SHA512'].map((hash) => `${kind}+${hash}`))
  .concat('ed25519')
  .join(':')
const VERSIONS = { dtlsv1: 0xfeff, 'dtlsv1.2': 0xfefd } as const
const MAX_REMEMBERED_SESSIONS = 10_000

/** As the addon's errors name them, and as the operator does. */
const OPTIONS: ReadonlyMap<string, keyof DtlsOptions> = new Map([
  ['cert', 'certfile'],
  ['key', 'keyfile'],
  ['ca', 'cacertfile'],
  ['dhparam', 'dhfile'],
  ['ciphers', 'ciphers'],
])

/**
 * Reads the files and proves that OpenSSL takes them, so that a reload with a broken certificate changes nothing.
 * @param psk - asked in the middle of a handshake
 * @throws BrokerError CONFIG_INVALID naming option and file; never with the content of a key
 */
export function createServerContext(
  native: Native,
  options: DtlsOptions,
  memory: DtlsMemory,
  psk: ContextOptions['psk'],
): NativeContext {
  check(options, psk !== undefined)
  const wanted = contextOptions(options, memory, psk)
  try {
    return native.createContext(wanted)
  } catch (cause) {
    const [name = '', ...why] = messageOf(cause).split(': ')
    const option = OPTIONS.get(name)
    if (option === undefined) throw invalid(messageOf(cause), cause)
    throw invalid(`${option}: ${nameOf(options[option])}: ${why.join(': ') || 'OpenSSL refuses it'}`, cause)
  }
}

function check(options: DtlsOptions, hasPsk: boolean): void {
  if (options.verifyPeer && options.cacertfile === undefined) {
    throw invalid('verify: verify_peer needs a cacertfile')
  }
  if (options.failIfNoPeerCert && !options.verifyPeer) {
    throw invalid('fail_if_no_peer_cert needs verify: verify_peer')
  }
  if ((options.certfile === undefined) !== (options.keyfile === undefined)) {
    throw invalid('certfile and keyfile need each other')
  }
  if (options.certfile === undefined && !hasPsk) {
    throw invalid('certfile and keyfile are needed (or pre-shared keys)')
  }
}

function contextOptions(
  options: DtlsOptions,
  { cookieSecret, ticketKeys }: DtlsMemory,
  psk: ContextOptions['psk'],
): ContextOptions {
  const versions = options.versions.map((version) => VERSIONS[version])
  // Whoever checks certificates checks them every time, as with TLS.
  const resumes = !options.verifyPeer
  return {
    cert: readPem('certfile', options.certfile),
    key: readPem('keyfile', options.keyfile),
    passphrase: options.password,
    ca: readPem('cacertfile', options.cacertfile),
    dhparam: readPem('dhfile', options.dhfile),
    partialChain: options.partialChain,
    verify: !options.verifyPeer ? 'none' : options.failIfNoPeerCert ? 'require' : 'request',
    depth: options.depth,
    ciphers: cipherText(options, psk !== undefined),
    sigalgs: SIGNATURES,
    honorCipherOrder: options.honorCipherOrder,
    // A higher number is an older version.
    minVersion: Math.max(...versions),
    maxVersion: Math.min(...versions),
    mtu: options.mtuBytes,
    ticketKeys: resumes && options.sessionTickets === 'stateless' ? ticketKeys : undefined,
    sessionCache: resumes && options.reuseSessions ? MAX_REMEMBERED_SESSIONS : 0,
    cookieSecret,
    psk,
  }
}

function cipherText({ ciphers, certfile, versions }: DtlsOptions, hasPsk: boolean): string {
  const ours = [...(certfile === undefined ? [] : WITH_CERTIFICATE), ...(hasPsk ? WITH_PSK : [])]
  const chosen = ciphers.length === 0 ? ours : [...ciphers]
  // From OpenSSL 3.2 on suites with a tag of 8 bytes are for those who say that they know it is short.
  const isShort = chosen.some((name) => name.includes('CCM8')) || versions.includes('dtlsv1')
  return [...chosen, ...(isShort ? ['@SECLEVEL=0'] : [])].join(':')
}

function readPem(option: keyof DtlsOptions, value: string | undefined): string | undefined {
  if (value === undefined || value.includes('-----BEGIN ')) return value
  let text: string
  try {
    text = readFileSync(value, 'utf8')
  } catch (cause) {
    throw invalid(`${option}: cannot read ${value}: ${messageOf(cause)}`, cause)
  }
  if (!text.includes('-----BEGIN ')) throw invalid(`${option}: ${value} is not a PEM file`)
  return text
}

function nameOf(value: unknown): string {
  const text = Array.isArray(value) ? value.join(':') : String(value)
  return text.includes('-----BEGIN ') ? 'the PEM text' : text
}

function invalid(text: string, cause?: unknown): BrokerError {
  return new BrokerError('CONFIG_INVALID', `dtls_options.${text}`, { cause })
}
