/** DTLS against other people's: `openssl s_client`, and libcoap on OpenSSL and on GnuTLS. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, expect, type TestContext, test } from 'vitest'
import type { DatagramTransport } from '../../listeners/datagram.ts'
import type { DtlsOptions } from '../../listeners/datagram-options.ts'
import { type Certs, makeCerts } from '../support/certs.ts'
import { within } from '../support/inbox.ts'
import { requireService, skipNote } from '../support/services.ts'
import { dtlsOptions, Echo, listenDatagrams } from './datagram-support.ts'

const openssl = requireService('openssl')
const KEY = Buffer.from('00112233445566778899aabbccddeeff', 'hex')
const pskLookup = (identity: string) => (identity === 'meter-7' ? KEY : undefined)
let certs: Certs
let withServerCert: Partial<DtlsOptions>

beforeAll(() => {
  certs = makeCerts()
  withServerCert = { certfile: certs.serverCert, keyfile: certs.serverKey }
})

/** `openssl s_client`, gone with the test. */
class SClient {
  output = ''
  readonly #process: ChildProcess
  readonly exited: Promise<number | null>
  #look: () => void = () => {}

  constructor(t: TestContext, port: number, args: readonly string[]) {
    this.#process = spawn('openssl', ['s_client', '-dtls1_2', '-connect', `127.0.0.1:${port}`, ...args])
    const take = (text: Buffer) => {
      this.output += text.toString()
      this.#look()
    }
    this.#process.stdout?.on('data', take)
    this.#process.stderr?.on('data', take)
    this.exited = new Promise((resolve) => this.#process.once('close', resolve))
    t.onTestFinished(() => void this.#process.kill('SIGKILL'))
  }

  says(text: string | RegExp): Promise<void> {
    const said = new Promise<void>((resolve) => {
      this.#look = () => {
        if (typeof text === 'string' ? this.output.includes(text) : text.test(this.output)) resolve()
      }
      this.#look()
    })
    return within(said, `s_client to say ${String(text)}, not ${this.output}`)
  }

  write(text: string): void {
    this.#process.stdin?.write(text)
  }

  quit(): Promise<number | null> {
    this.write('Q\n')
    return this.exited
  }
}

test.skipIf(openssl.skip)(`openssl checks the certificate and echoes${skipNote(openssl)}`, async (t) => {
  const echo = new Echo()
  const { port } = await listenDatagrams(t, dtlsOptions(withServerCert), echo.serve)
  const client = new SClient(t, port, ['-CAfile', certs.ca])
  await client.says('Verify return code: 0 (ok)')
  client.write('hello over dtls\n')
  await client.says('\nhello over dtls\n')
  await client.quit()
  await echo.has('closed', 1)
  expect(echo.closed).toEqual([{ kind: 'peer_closed' }])
})

test.skipIf(openssl.skip)(`openssl with an RSA certificate on our side${skipNote(openssl)}`, async (t) => {
  const [cert, key] = [join(certs.dir, 'rsa.pem'), join(certs.dir, 'rsa.key')]
  const args = ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-subj', '/CN=localhost', '-days', '30']
  execFileSync('openssl', [...args, '-keyout', key, '-out', cert], { stdio: 'ignore' })
  const { port } = await listenDatagrams(t, dtlsOptions({ certfile: cert, keyfile: key }), new Echo().serve)
  const client = new SClient(t, port, ['-CAfile', cert])
  await client.says('Verify return code: 0 (ok)')
  client.write('hello\n')
  await client.says('\nhello\n')
})

test.skipIf(openssl.skip)(
  `openssl shows a certificate, and the gateway knows it${skipNote(openssl)}`,
  async (t) => {
    const echo = new Echo()
    const options = { ...withServerCert, cacertfile: certs.ca, verifyPeer: true, failIfNoPeerCert: true }
    const { port } = await listenDatagrams(t, dtlsOptions(options), echo.serve)
    const client = new SClient(t, port, ['-cert', certs.clientCert, '-key', certs.clientKey])
    await echo.has('peers', 1)
    expect(echo.peers[0]?.certificate?.commonName).toBe('meter-7')
    await client.quit()
    const stranger = new SClient(t, port, ['-cert', certs.strangerCert, '-key', certs.strangerKey])
    await stranger.says(/alert/)
    expect(echo.peers).toHaveLength(1)
  },
)

test.skipIf(openssl.skip).each(['PSK-AES128-CCM8', 'PSK-AES128-GCM-SHA256', 'ECDHE-PSK-AES128-CBC-SHA256'])(
  `openssl with a pre-shared key, %s${skipNote(openssl)}`,
  async (cipher) => {
    const finished: (() => void)[] = []
    const t = { onTestFinished: (done: () => void) => void finished.push(done) } as unknown as TestContext
    const echo = new Echo()
    const { port } = await listenDatagrams(t, dtlsOptions(), echo.serve, { pskLookup })
    const psk = ['-psk', KEY.toString('hex'), '-psk_identity', 'meter-7', '-cipher', `${cipher}:@SECLEVEL=0`]
    const client = new SClient(t, port, psk)
    await echo.has('peers', 1)
    client.write('hello\n')
    await client.says('\nhello\n')
    expect(echo.peers[0]?.pskIdentity).toBe('meter-7')
    for (const done of finished) done()
  },
)

test.skipIf(openssl.skip)(`openssl resumes by session id, and by ticket${skipNote(openssl)}`, async (t) => {
  const outcome = async (dtls: Partial<DtlsOptions>, name: string) => {
    const { port } = await listenDatagrams(t, dtlsOptions({ ...withServerCert, ...dtls }), new Echo().serve)
    const file = join(certs.dir, name)
    const first = new SClient(t, port, ['-sess_out', file])
    await first.says('Verify return code')
    await first.quit()
    if (!existsSync(file)) return 'no session'
    const second = new SClient(t, port, ['-sess_in', file])
    await second.says('Verify return code')
    const { output } = second
    await second.quit()
    return `${output.includes('Reused,')} ${output.includes('TLS session ticket')}`
  }
  expect(await outcome({ reuseSessions: true }, 'by-id')).toBe('true false')
  expect(await outcome({ reuseSessions: false, sessionTickets: 'stateless' }, 'by-ticket')).toBe('true true')
  expect(await outcome({ reuseSessions: false }, 'not-at-all')).not.toMatch('true')
  const checked = { cacertfile: certs.ca, verifyPeer: true, sessionTickets: 'stateless' as const }
  expect(await outcome(checked, 'checked-each-time')).not.toMatch('true')
})

test.skipIf(openssl.skip)(
  `a client that wants to renegotiate does not get it${skipNote(openssl)}`,
  async (t) => {
    const { port } = await listenDatagrams(t, dtlsOptions(withServerCert), new Echo().serve)
    const client = new SClient(t, port, ['-CAfile', certs.ca])
    await client.says('Verify return code: 0 (ok)')
    client.write('R\n')
    await client.says(/no renegotiation/)
  },
)

/** Answers each confirmable request with 2.05 and a text. */
function serveCoap(seen: DatagramTransport[]) {
  return (transport: DatagramTransport): void => {
    seen.push(transport)
    transport.handler = {
      onDatagram(request) {
        const token = request.subarray(4, 4 + ((request[0] as number) & 15))
        if (request[1] === 0) return // empty: an acknowledgement
        const head = Buffer.from([0x60 | token.length, 0x45, request[2] as number, request[3] as number])
        transport.send(Buffer.concat([head, token, Buffer.from([0xff]), Buffer.from('hello from coaps')]))
      },
      onClose() {},
    }
  }
}

for (const name of ['coap-client-openssl', 'coap-client-gnutls'] as const) {
  const program = requireService(name)
  const get = (port: number, args: readonly string[]): Promise<string> =>
    new Promise((resolve) => {
      const child = spawn(name, ['-m', 'get', '-B', '10', ...args, `coaps://127.0.0.1:${port}/x`])
      let output = ''
      child.stdout.on('data', (text) => (output += text))
      child.stderr.on('data', (text) => (output += text))
      child.once('close', () => resolve(output))
    })

  test.skipIf(program.skip)(`${name} with a pre-shared key${skipNote(program)}`, async (t) => {
    const seen: DatagramTransport[] = []
    const lookup = async (identity: string) => (identity === 'meter-7' ? Buffer.from('secretPSK') : undefined)
    const { port } = await listenDatagrams(t, dtlsOptions(), serveCoap(seen), { pskLookup: lookup })
    expect(await get(port, ['-u', 'meter-7', '-k', 'secretPSK'])).toContain('hello from coaps')
    expect(seen[0]?.pskIdentity).toBe('meter-7')
  })

  test.skipIf(program.skip)(`${name} with certificates on both sides${skipNote(program)}`, async (t) => {
    const seen: DatagramTransport[] = []
    const mutual = { ...withServerCert, cacertfile: certs.ca, verifyPeer: true, failIfNoPeerCert: true }
    const { port } = await listenDatagrams(t, dtlsOptions(mutual), serveCoap(seen))
    const own = ['-c', certs.clientCert, '-j', certs.clientKey, '-C', certs.ca]
    expect(await get(port, own)).toContain('hello from coaps')
    expect(seen[0]?.certificate?.commonName).toBe('meter-7')
  })
}
