/** An OpenLDAP server for tests, in a temporary folder on a free port. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Certs } from './certs.ts'
import { freePort } from './free-port.ts'
import { pauseProcess } from './pausing.ts'

const LOOPBACK = '127.0.0.1'
const SUFFIX = 'dc=example,dc=org'
const ENV = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin` }

export const ADMIN_DN = `cn=admin,${SUFFIX}`

/** Its administrator is `ADMIN_DN` with the password `ldap-secret`; the tree begins at dc=example,dc=org. */
export class Slapd {
  readonly port: number
  readonly #directory: string
  readonly #scheme: string
  #process: ChildProcess | undefined

  private constructor(port: number, directory: string, scheme: string) {
    this.port = port
    this.#directory = directory
    this.#scheme = scheme
  }

  /**
   * @param ldif - entries below the suffix
   * @param schema - more of it, in the format of slapd.conf
   * @param certs - speaks LDAP over TLS, and nothing else
   */
  static async start(ldif: string, { schema = '', certs }: { schema?: string; certs?: Certs } = {}) {
    const directory = await mkdtemp(join(tmpdir(), 'slapd-'))
    await mkdir(join(directory, 'db'))
    await writeFile(join(directory, 'slapd.conf'), configOf(directory, schema, certs))
    const top = `dn: ${SUFFIX}\nobjectClass: domain\ndc: example\n`
    await writeFile(join(directory, 'seed.ldif'), `${top}\n${ldif}`)
    const args = ['-q', '-f', join(directory, 'slapd.conf'), '-l', join(directory, 'seed.ldif')]
    execFileSync('slapadd', args, { env: ENV, stdio: ['ignore', 'ignore', 'pipe'] })
    const server = new Slapd(await freePort(), directory, certs === undefined ? 'ldap' : 'ldaps')
    await server.restart()
    return server
  }

  get address(): string {
    return `${LOOPBACK}:${this.port}`
  }

  /** Starts it again after `kill`. */
  async restart(): Promise<void> {
    const args = [
      '-d',
      '0',
      '-h',
      `${this.#scheme}://${this.address}`,
      '-f',
      join(this.#directory, 'slapd.conf'),
    ]
    const child = spawn('slapd', args, { env: ENV, stdio: 'ignore' })
    this.#process = child
    while (!(await accepts(this.port)))
      if (child.exitCode !== null) throw new Error(`slapd ended with ${child.exitCode}`)
  }

  async kill(): Promise<void> {
    const child = this.#process
    this.#process = undefined
    if (child === undefined || child.exitCode !== null) return
    const ended = once(child, 'exit')
    child.kill('SIGKILL')
    await ended
  }

  /** It keeps its connections and answers nothing, until `proceed`. */
  pause(): void {
    pauseProcess(this.#process?.pid)
  }

  proceed(): void {
    this.#process?.kill('SIGCONT')
  }

  async stop(): Promise<void> {
    await this.kill()
    await rm(this.#directory, { recursive: true, force: true })
  }
}

function configOf(directory: string, schema: string, certs: Certs | undefined): string {
  const tls =
    certs === undefined
      ? ''
      : `TLSCACertificateFile ${certs.ca}\nTLSCertificateFile ${certs.serverCert}\nTLSCertificateKeyFile ${certs.serverKey}\n`
  return `include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
${schema}
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile ${join(directory, 'pid')}
${tls}
database mdb
maxsize 16777216
suffix "${SUFFIX}"
rootdn "${ADMIN_DN}"
rootpw ldap-secret
directory ${join(directory, 'db')}
`
}

async function accepts(port: number): Promise<boolean> {
  const socket = connect(port, LOOPBACK)
  try {
    await once(socket, 'connect')
    return true
  } catch {
    return false
  } finally {
    socket.destroy()
  }
}
