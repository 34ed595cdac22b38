import { execFileSync } from 'node:child_process'
import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** Paths of PEM files. */
export interface Certs {
  dir: string
  ca: string
  caKey: string
  /** For localhost, 127.0.0.1 and ::1. */
  serverCert: string
  serverKey: string
  /** CN=meter-7, O=Example */
  clientCert: string
  clientKey: string
  /** Like the client's, but of a CA nobody knows. */
  strangerCert: string
  strangerKey: string
}

export interface Issuer {
  cert: string
  key: string
}

/** A CA, a server, a client and a stranger, made with the `openssl` command in a temporary folder. */
export function makeCerts(): Certs {
  const dir = mkdtempSync(join(tmpdir(), 'certs-'))
  const ca = issueCert(dir, 'ca', { subject: '/CN=Test CA', ca: true })
  const server = issueCert(dir, 'server', { subject: '/CN=localhost', issuer: ca, hosts: true })
  const client = issueCert(dir, 'client', { subject: '/CN=meter-7/O=Example', issuer: ca })
  const unknownCa = issueCert(dir, 'unknown-ca', { subject: '/CN=Unknown CA', ca: true })
  const stranger = issueCert(dir, 'stranger', { subject: '/CN=meter-7/O=Example', issuer: unknownCa })
  return {
    dir,
    ca: ca.cert,
    caKey: ca.key,
    serverCert: server.cert,
    serverKey: server.key,
    clientCert: client.cert,
    clientKey: client.key,
    strangerCert: stranger.cert,
    strangerKey: stranger.key,
  }
}

export interface CertRequest {
  subject: string
  /** Undefined: signs itself. */
  issuer?: Issuer
  ca?: boolean
  /** Valid for the loopback addresses. */
  hosts?: boolean
}

/** One certificate with a new P-256 key. */
export function issueCert(dir: string, name: string, request: CertRequest): Issuer {
  const cert = join(dir, `${name}.pem`)
  const key = join(dir, `${name}.key`)
  const config = join(dir, 'openssl.cnf')
  writeFileSync(config, '[req]\ndistinguished_name = dn\n[dn]\n')
  const { subject, issuer, ca = false, hosts = false } = request
  const extensions = [`basicConstraints=critical,CA:${ca ? 'TRUE' : 'FALSE'}`]
  if (hosts) extensions.push('subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1')
  const args = [
    'req',
    '-x509',
    '-config',
    config,
    '-days',
    '30',
    '-subj',
    subject,
    '-keyout',
    key,
    '-out',
    cert,
  ]
  args.push('-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes')
  if (issuer !== undefined) args.push('-CA', issuer.cert, '-CAkey', issuer.key)
  for (const extension of extensions) args.push('-addext', extension)
  execFileSync('openssl', args, { stdio: ['ignore', 'ignore', 'pipe'] })
  return { cert, key }
}
