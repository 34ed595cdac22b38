/** A SCRAM client after RFC 5802 and RFC 7677, which shares nothing with the broker's side. */
import { createHash, createHmac, pbkdf2Sync } from 'node:crypto'

export interface ScramOptions {
  username: string
  password: string
  /** Of the client. */
  nonce: string
  hash?: 'sha256' | 'sha512'
  /** GS2 header. */
  header?: string
}

export class ScramClient {
  readonly #options: Required<ScramOptions>
  #expected = ''

  constructor(options: ScramOptions) {
    this.#options = { hash: 'sha256', header: 'n,,', ...options }
  }

  get method(): string {
    return this.#options.hash === 'sha256' ? 'SCRAM-SHA-256' : 'SCRAM-SHA-512'
  }

  get #bare(): string {
    const { username, nonce } = this.#options
    return `n=${username.replaceAll('=', '=3D').replaceAll(',', '=2C')},r=${nonce}`
  }

  first(): string {
    return this.#options.header + this.#bare
  }

  /** The answer to the server's first message. */
  final(challenge: string): string {
    const { password, nonce, hash, header } = this.#options
    const attributes = new Map(challenge.split(',').map((part) => [part.slice(0, 1), part.slice(2)]))
    const [r = '', s = '', i = ''] = ['r', 's', 'i'].map((name) => attributes.get(name))
    if (!r.startsWith(nonce) || r === nonce) throw new Error(`not our nonce: ${challenge}`)
    const hmac = (key: Buffer, text: string) => createHmac(hash, key).update(text).digest()
    const length = hash === 'sha256' ? 32 : 64
    const salted = pbkdf2Sync(password.normalize('NFKC'), Buffer.from(s, 'base64'), Number(i), length, hash)
    const withoutProof = `c=${Buffer.from(header).toString('base64')},r=${r}`
    const authMessage = `${this.#bare},${challenge},${withoutProof}`
    const clientKey = hmac(salted, 'Client Key')
    const signature = hmac(createHash(hash).update(clientKey).digest(), authMessage)
    const proof = clientKey.map((byte, at) => byte ^ (signature[at] as number))
    this.#expected = hmac(hmac(salted, 'Server Key'), authMessage).toString('base64')
    return `${withoutProof},p=${Buffer.from(proof).toString('base64')}`
  }

  /** Whether the server has shown that it knows the password too. */
  accepts(serverFinal: string): boolean {
    return serverFinal === `v=${this.#expected}`
  }
}
