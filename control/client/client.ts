import { type IncomingMessage, request } from 'node:http'
import { createInterface } from 'node:readline'
import { text } from 'node:stream/consumers'
import { BrokerError, CODES, type ErrorCode, messageOf } from '../../model/errors.ts'
import { findAddress } from './address.ts'
import {
  type BrokerStatus,
  type Calls,
  EXPORT,
  type Lists,
  PROTOCOL,
  PROTOCOL_HEADER,
  type Refusal,
  VERSION_HEADER,
} from './protocol.ts'

/** Until the answer begins. Passwords of many users take their time. */
const ANSWER_MS = 120_000
/** Nobody is there: not a socket, or of a broker that is gone. */
const ABSENT = ['ENOENT', 'ECONNREFUSED', 'ENOTSOCK']

/** A broker of this machine that runs. */
export class ControlClient {
  /** As it was when this client was made. */
  readonly status: BrokerStatus
  readonly #address: string

  private constructor(address: string, status: BrokerStatus) {
    this.#address = address
    this.status = status
  }

  /**
   * @param dataDir - of the broker
   * @returns undefined if none is running with it
   * @throws BrokerError BACKEND_FAILED for a broker that may not be asked, or is of another version
   */
  static async connect(dataDir: string): Promise<ControlClient | undefined> {
    const address = findAddress(dataDir)
    if (address === undefined) return undefined
    try {
      const answer = await ask(address, 'status', {})
      return new ControlClient(address, JSON.parse(await text(answer)) as BrokerStatus)
    } catch (error) {
      if (ABSENT.includes(codeOf(error))) return undefined
      throw explained(error, address)
    }
  }

  /** @throws BrokerError with what the broker says */
  async call<Name extends keyof Calls>(
    name: Name,
    params: Calls[Name]['params'],
  ): Promise<Calls[Name]['result']> {
    try {
      return JSON.parse(await text(await ask(this.#address, name, params))) as Calls[Name]['result']
    } catch (error) {
      throw explained(error, this.#address)
    }
  }

  /** @throws BrokerError with what the broker says */
  async *list<Name extends keyof Lists>(
    name: Name,
    params: Lists[Name]['params'],
  ): AsyncGenerator<Lists[Name]['item']> {
    try {
      const answer = await ask(this.#address, name, params)
      // readline would swallow the end of a broker in the middle.
      const broken = new Promise<never>((_, reject) => answer.on('error', reject))
      broken.catch(() => {})
      for await (const line of createInterface({ input: answer }))
        yield JSON.parse(line) as Lists[Name]['item']
      if (!answer.complete) await broken
    } catch (error) {
      throw explained(error, this.#address)
    }
  }

  /** Everything the broker's storage keeps, as broker/storage/data-file.ts writes it. */
  async *export(): AsyncGenerator<string> {
    try {
      const answer = await ask(this.#address, EXPORT, {})
      for await (const piece of answer.setEncoding('utf8')) yield piece as string
    } catch (error) {
      throw explained(error, this.#address)
    }
  }
}

function ask(socketPath: string, name: string, params: object): Promise<IncomingMessage> {
  const body = JSON.stringify(params)
  return new Promise((resolve, reject) => {
    const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }
    const asked = request({ socketPath, path: `/${name}`, method: 'POST', headers, agent: false })
    asked.setTimeout(ANSWER_MS, () =>
      asked.destroy(new BrokerError('BACKEND_TIMEOUT', 'the broker does not answer')),
    )
    asked.on('error', reject)
    asked.on('response', (answer) => {
      checked(answer).then(resolve, reject)
    })
    asked.end(body)
  })
}

/** @throws BrokerError for a refusal, and for a broker of another version */
async function checked(answer: IncomingMessage): Promise<IncomingMessage> {
  const { headers, statusCode } = answer
  if (headers[PROTOCOL_HEADER] !== String(PROTOCOL)) {
    answer.resume()
    const version = headers[VERSION_HEADER]
    const what = typeof version === 'string' ? `of version ${version}` : 'of a version that is not known'
    throw new BrokerError(
      'BACKEND_FAILED',
      `the broker that runs is ${what}: use the hubbub command it was started with`,
    )
  }
  if (statusCode === 200) return answer
  const { code, message } = JSON.parse(await text(answer)) as Refusal
  throw new BrokerError(isCode(code) ? code : 'BACKEND_FAILED', message)
}

function isCode(code: string): code is ErrorCode {
  return Object.hasOwn(CODES, code) && code !== 'INTERNAL'
}

function explained(error: unknown, address: string): unknown {
  if (error instanceof BrokerError) return error
  const code = codeOf(error)
  const why =
    code === 'EACCES' || code === 'EPERM'
      ? 'permission denied; run this command as the user the broker runs as'
      : code === 'ECONNRESET' || ABSENT.includes(code)
        ? 'it has stopped'
        : messageOf(error)
  return new BrokerError('BACKEND_FAILED', `cannot talk to the broker at ${address}: ${why}`, {
    cause: error,
  })
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : ''
}
