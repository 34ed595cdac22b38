import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import { expect, onTestFinished, test } from 'vitest'
import { FlushQueue } from '../../listeners/flush-queue.ts'
import { type OnRead, SharedReads } from '../../listeners/shared-reads.ts'
import { LOOPBACK } from './support.ts'

const SHARE = 300_000

/** Hands over each piece, to be kept. */
const keeping =
  (take: (piece: Buffer) => void): OnRead =>
  ({ bytes }, start, end) => {
    take(bytes.subarray(start, end))
    return false
  }

/** Both ends of a connection; the accepted one as listeners get it. */
async function pair(): Promise<{ accepted: Socket; peer: Socket }> {
  const server = createServer({ allowHalfOpen: true }).listen(0, LOOPBACK)
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no address')
  const arriving = once(server, 'connection') as Promise<[Socket]>
  const peer = connect(address.port, LOOPBACK)
  const [accepted] = await arriving
  onTestFinished(() => {
    server.close()
    peer.destroy()
    accepted.destroy()
  })
  return { accepted, peer }
}

test('what was read stays as it is, whatever others send meanwhile', async () => {
  const reads = new SharedReads(new FlushQueue())
  const seen = await Promise.all(
    Array.from({ length: 12 }, async (_, i) => {
      const { accepted, peer } = await pair()
      const chunks: Buffer[] = []
      const isAttached = reads.attach(
        accepted,
        keeping((piece) => chunks.push(piece)),
      )
      expect(isAttached).toBe(true)
      const ended = once(accepted, 'end')
      accepted.resume()
      peer.end(Buffer.alloc(SHARE, i + 1))
      await ended
      return { chunks, mark: i + 1 }
    }),
  )
  for (const { chunks, mark } of seen)
    expect(Buffer.concat(chunks).equals(Buffer.alloc(SHARE, mark))).toBe(true)
})

test('small chunks of several peers lie in the same memory', async () => {
  const reads = new SharedReads(new FlushQueue())
  const chunks: Buffer[] = []
  for (const text of ['one', 'two', 'three']) {
    const { accepted, peer } = await pair()
    const came = new Promise<void>((resolve) => {
      const take = (piece: Buffer) => {
        chunks.push(piece)
        resolve()
      }
      reads.attach(accepted, keeping(take))
    })
    accepted.resume()
    peer.write(text)
    await came
  }
  expect(chunks.map(String)).toEqual(['one', 'two', 'three'])
  expect(new Set(chunks.map(({ buffer }) => buffer)).size).toBe(1)
})

test('a paused socket gives nothing, and goes on where it was', async () => {
  const { accepted, peer } = await pair()
  const chunks: Buffer[] = []
  let wake = () => {}
  const take = (piece: Buffer) => {
    chunks.push(piece)
    accepted.pause()
    wake()
  }
  new SharedReads(new FlushQueue()).attach(accepted, keeping(take))
  const next = () =>
    new Promise<void>((resolve) => {
      wake = resolve
      accepted.resume()
    })
  peer.write('first')
  await next()
  const written = new Promise((resolve) => peer.write('second', resolve))
  await written
  // Another connection's bytes come through: those of the paused one had their chance.
  const other = await pair()
  other.peer.write('x')
  await once(other.accepted, 'data')
  expect(chunks.map(String)).toEqual(['first'])
  await next()
  expect(chunks.map(String)).toEqual(['first', 'second'])
})

test('a socket that holds bytes already is left to Node', async () => {
  const { accepted, peer } = await pair()
  peer.write('early')
  await once(accepted, 'readable')
  const attached = new SharedReads(new FlushQueue()).attach(accepted, () => {
    throw new Error('nothing was attached')
  })
  expect(attached).toBe(false)
  expect(String(accepted.read())).toBe('early')
  accepted.resume()
  peer.write('late')
  expect(String((await once(accepted, 'data'))[0])).toBe('late')
})
