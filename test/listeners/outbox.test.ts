import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { FlushQueue } from '../../listeners/flush-queue.ts'
import { Moderation } from '../../listeners/moderation.ts'
import { type Carrier, StreamOutbox } from '../../listeners/outbox.ts'

const LIMITS = { highWatermarkBytes: 1000, sendTimeoutMs: 15_000 }

/** A socket that takes everything at once, or nothing until `take`. */
class Stub implements Carrier {
  pendingBytes = 0
  blocked = false
  writes: Buffer[] = []
  /** The very memory of the last write of one piece. */
  lastPiece: Uint8Array | undefined
  drains = 0
  stalls = 0
  failures: unknown[] = []
  #written: (() => void)[] = []

  send(piece: Uint8Array, written: (() => void) | undefined): void {
    this.lastPiece = piece
    // A blocked socket keeps the buffer itself, as the kernel has not read it yet.
    this.writes.push(this.blocked ? (piece as Buffer) : Buffer.from(piece))
    if (this.blocked) this.pendingBytes += piece.length
    if (written !== undefined) this.#written.push(written)
  }

  sendAll(pieces: readonly Uint8Array[], written: (() => void) | undefined): void {
    this.send(Buffer.concat(pieces), written)
  }

  take(bytes = this.pendingBytes): void {
    this.pendingBytes -= bytes
    for (const written of this.#written.splice(0)) written()
  }

  drained(): void {
    this.drains++
  }
  stalled(): void {
    this.stalls++
  }
  failed(error: unknown): void {
    this.failures.push(error)
  }
}

const setup = (limits = LIMITS) => {
  const stub = new Stub()
  const queue = new FlushQueue()
  return { stub, queue, outbox: new StreamOutbox(stub, queue, limits) }
}

const put = (outbox: StreamOutbox, text: string): void => {
  const offset = outbox.reserve(text.length)
  outbox.buffer.write(text, offset, 'latin1')
}

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

test('everything written during a turn leaves as one write, in order', () => {
  const { stub, outbox } = setup()
  put(outbox, 'one ')
  outbox.append(Buffer.from('two '))
  put(outbox, 'three')
  expect(stub.writes).toEqual([])

  vi.runAllTimers()

  expect(stub.writes.map(String)).toEqual(['one two three'])
  expect(outbox.handedOver).toBe(13)
})

test('outboxes that share a queue are flushed in the same turn', () => {
  const { stub, queue, outbox } = setup()
  const other = new Stub()
  put(outbox, 'a')
  put(new StreamOutbox(other, queue, LIMITS), 'b')

  vi.runAllTimers()

  expect([stub.writes.map(String), other.writes.map(String)]).toEqual([['a'], ['b']])
})

test('moderation is told once per turn, when all outboxes are flushed, of the bytes of all of them', () => {
  const stubs = [new Stub(), new Stub()]
  const moderation = new Moderation({ now: () => 0, idle: () => 0, pause: () => {} })
  const told: unknown[] = []
  vi.spyOn(moderation, 'turnEnded').mockImplementation((sentBytes) => {
    told.push([sentBytes, stubs.map(({ writes }) => writes.map(String))])
  })
  const queue = new FlushQueue(moderation)
  const outboxes = stubs.map((stub) => new StreamOutbox(stub, queue, LIMITS))
  for (const outbox of outboxes) put(outbox, 'one')
  vi.runAllTimers()
  for (const outbox of outboxes.slice(1)) put(outbox, 'three')
  vi.runAllTimers()

  expect(told).toEqual([
    [6, [['one'], ['one']]],
    [5, [['one'], ['one', 'three']]],
  ])
})

test('bytes come out as they went in, whatever the sizes', () => {
  const { stub, outbox } = setup({ ...LIMITS, highWatermarkBytes: 1e9 })
  let seed = 7
  const random = (below: number): number => (seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31) % below
  for (let turn = 0; turn < 60; turn++) {
    const expected: Buffer[] = []
    for (let i = random(40); i >= 0; i--) {
      const bytes = Buffer.alloc(random([10, 300, 5000, 40_000, 150_000][random(5)] as number), random(256))
      expected.push(bytes)
      if (random(2) === 0) outbox.append(bytes)
      else {
        const offset = outbox.reserve(bytes.length)
        bytes.copy(outbox.buffer, offset)
      }
    }
    vi.runAllTimers()
    expect(Buffer.concat(stub.writes).equals(Buffer.concat(expected)), `turn ${turn}`).toBe(true)
    stub.writes = []
  }
})

test('a large piece is sent as it is, not copied', () => {
  const { outbox, stub } = setup({ ...LIMITS, highWatermarkBytes: 1e9 })
  const large = Buffer.alloc(20_000, 1)
  let pieces: readonly Uint8Array[] = []
  stub.sendAll = (all) => {
    pieces = [...all]
  }
  put(outbox, 'head')
  outbox.append(large)
  put(outbox, 'tail')

  vi.runAllTimers()

  expect(pieces.map((piece) => piece.length)).toEqual([4, 20_000, 4])
  expect(pieces[1]).toBe(large)
})

test('a buffer which the socket still reads from is not written to', () => {
  const { stub, outbox } = setup()
  stub.blocked = true
  put(outbox, 'first')
  vi.runAllTimers()
  put(outbox, 'XXXXX')
  vi.runAllTimers()

  expect(stub.writes.map(String)).toEqual(['first', 'XXXXX'])
})

test('an idle outbox holds no buffer', () => {
  const { outbox } = setup()
  put(outbox, 'x'.repeat(500))
  vi.runAllTimers()

  expect(outbox.buffer.length).toBe(0)
  expect(outbox.unsentBytes).toBe(0)
})

test('it is congested from the high watermark until below half of it, and says so once', () => {
  const { stub, outbox } = setup()
  stub.blocked = true
  put(outbox, 'x'.repeat(999))
  expect(outbox.congested).toBe(false)
  put(outbox, 'x')
  expect(outbox.congested).toBe(true)
  vi.advanceTimersByTime(1)
  expect(outbox.unsentBytes).toBe(1000)

  stub.take(500)
  expect([outbox.congested, stub.drains]).toEqual([true, 0])
  put(outbox, 'y') // the next write carries the next notice
  vi.advanceTimersByTime(1)
  stub.take(2)

  expect([outbox.congested, stub.drains]).toEqual([false, 1])
})

test('bytes that the kernel takes at once end the congestion at the end of the turn', () => {
  const { stub, outbox } = setup()
  put(outbox, 'x'.repeat(1500))
  expect(outbox.congested).toBe(true)

  vi.runAllTimers()

  expect([outbox.congested, stub.drains, stub.stalls]).toEqual([false, 1, 0])
})

test('a peer that takes nothing for the send timeout is given up, even if nobody asks', () => {
  const { stub, outbox } = setup()
  stub.blocked = true
  put(outbox, 'x'.repeat(2000))

  vi.advanceTimersByTime(14_999)
  expect(stub.stalls).toBe(0)
  vi.advanceTimersByTime(100)

  expect(stub.stalls).toBe(1)
})

test('a slow peer is not a dead one', () => {
  const { stub, outbox } = setup()
  stub.blocked = true
  put(outbox, 'x'.repeat(2000))
  for (let i = 0; i < 4; i++) {
    vi.advanceTimersByTime(10_000)
    stub.take(200)
  }
  expect(stub.stalls).toBe(0)

  vi.advanceTimersByTime(30_100)

  expect(stub.stalls).toBe(1)
})

test('after close everything is dropped, and no timer is left', () => {
  const { stub, outbox } = setup()
  stub.blocked = true
  put(outbox, 'x'.repeat(2000))
  vi.advanceTimersByTime(1)
  outbox.close()
  put(outbox, 'late')
  outbox.append(Buffer.alloc(20_000))
  vi.runAllTimers()

  expect(stub.writes).toHaveLength(1)
  // Congested, so that whoever looks first writes nothing more.
  expect([stub.stalls, stub.drains, outbox.congested, vi.getTimerCount()]).toEqual([0, 0, true, 0])
})

test('an error while sending ends this peer and no other', () => {
  const { stub, queue, outbox } = setup()
  const other = new Stub()
  stub.send = () => {
    throw new Error('boom')
  }
  put(outbox, 'a')
  put(new StreamOutbox(other, queue, LIMITS), 'b')

  vi.runAllTimers()

  expect(stub.failures).toEqual([new Error('boom')])
  expect(other.writes.map(String)).toEqual(['b'])
})

test('packets that are passed on and follow each other leave in order, with ids of their own', () => {
  const { stub, outbox } = setup()
  const read = Buffer.from('..aaIDbbID-ccID')
  put(outbox, 'first ')
  outbox.relay(read, 2, 6, 4, 0x3132)
  outbox.relay(read, 6, 10, 8, 0x3334)
  outbox.relay(read, 11, 15, 13, 0)
  put(outbox, ' last')
  vi.runAllTimers()

  expect(stub.writes.map(String)).toEqual(['first aa12bb34ccID last'])
  expect(read.toString()).toBe('..aaIDbbID-ccID')
})

describe('what is passed on and is all there is to send', () => {
  const read = Buffer.alloc(1000, 'x')
  const isSentFromThere = ({ lastPiece }: Stub) => lastPiece?.buffer === read.buffer

  test('is sent from where it was read', () => {
    const { stub, outbox } = setup()
    outbox.relay(read, 100, 300, 0, 0)
    outbox.relay(read, 300, 600, 0, 0)
    vi.runAllTimers()
    expect([isSentFromThere(stub), stub.writes.map(String)]).toEqual([true, ['x'.repeat(500)]])
    outbox.relay(read, 0, 255, 0, 0)
    put(outbox, '')
    vi.runAllTimers()
    expect([isSentFromThere(stub), stub.writes.length], 'little of it').toEqual([false, 2])
  })

  test('is copied if it gets an id, if something goes with it, and for a slow peer', () => {
    const { stub, outbox } = setup({ ...LIMITS, highWatermarkBytes: 10_000 })
    outbox.relay(read, 0, 500, 2, 0x4142)
    vi.runAllTimers()
    expect([isSentFromThere(stub), stub.writes.at(-1)?.toString('latin1', 0, 5)]).toEqual([false, 'xxABx'])
    outbox.relay(read, 0, 500, 0, 0)
    put(outbox, 'more')
    vi.runAllTimers()
    expect([isSentFromThere(stub), String(stub.writes.at(-1))]).toEqual([false, `${'x'.repeat(500)}more`])
    stub.blocked = true
    outbox.relay(read, 0, 300, 0, 0)
    vi.runAllTimers()
    expect([isSentFromThere(stub), outbox.unsentBytes], 'the first that waits').toEqual([true, 300])
    outbox.relay(read, 300, 600, 0, 0)
    vi.runAllTimers()
    expect([isSentFromThere(stub), outbox.unsentBytes], 'the next one').toEqual([false, 600])
  })

  test('keeps its place among others if there is much of it', () => {
    const { stub, outbox } = setup({ ...LIMITS, highWatermarkBytes: 1_000_000 })
    const much = Buffer.alloc(20_000, 'm')
    put(outbox, 'first ')
    outbox.relay(much, 0, 20_000, 0, 0)
    outbox.relay(read, 0, 300, 0, 0)
    put(outbox, ' last')
    vi.runAllTimers()
    expect(stub.writes.map(String)).toEqual([`first ${'m'.repeat(20_000)}${'x'.repeat(300)} last`])
    expect(outbox.unsentBytes).toBe(0)
  })
})

test('what is passed on counts as unsent, and is forgotten with the transport', () => {
  const { stub, outbox } = setup()
  const read = Buffer.alloc(1000, 'x')
  outbox.relay(read, 0, 999, 0, 0)
  expect(outbox.unsentBytes).toBe(999)
  expect(outbox.congested).toBe(false)
  outbox.relay(read, 999, 1000, 0, 0)
  expect(outbox.congested).toBe(true)
  outbox.close()
  vi.runAllTimers()

  expect(outbox.unsentBytes).toBe(0)
  expect(stub.writes).toEqual([])
})

test('what is passed on may be of any size, and large writes keep their place behind it', () => {
  const { stub, outbox } = setup({ ...LIMITS, highWatermarkBytes: 1_000_000 })
  const read = Buffer.alloc(70_000, 'r')
  const large = Buffer.alloc(20_000, 'l')
  outbox.relay(read, 0, 70_000, 0, 0)
  outbox.append(large)
  outbox.relay(read, 10, 20, 12, 0x4142)
  vi.runAllTimers()

  const sent = Buffer.concat(stub.writes)
  expect(sent.equals(Buffer.concat([read, large, Buffer.from('rrABrrrrrr')]))).toBe(true)
})

test('its room shrinks by what is written, whichever way, and is there again when that has left', () => {
  const { stub, outbox } = setup()
  expect(outbox.room).toBe(999)
  put(outbox, 'x'.repeat(100))
  expect(outbox.room).toBe(899)
  outbox.append(Buffer.alloc(99))
  outbox.relay(Buffer.alloc(50), 10, 20, 0, 0)
  expect(outbox.room).toBe(790)
  vi.runAllTimers()
  expect(outbox.room).toBe(999)

  stub.blocked = true
  put(outbox, 'x'.repeat(400))
  vi.runAllTimers()
  expect(outbox.room).toBe(599)
  // Taken meanwhile: it may be told less than there is, never more.
  stub.take()
  put(outbox, 'x')
  expect(outbox.room).toBe(598)
  vi.runAllTimers()
  expect(outbox.room).toBe(998)
})

test('what its room holds may be passed on in any pieces and does not congest it, one byte more does', () => {
  for (const written of [0, 1, 300, 998]) {
    const { outbox } = setup()
    if (written > 0) put(outbox, 'x'.repeat(written))
    const read = Buffer.alloc(1000)
    const { room } = outbox
    outbox.relay(read, 0, room >> 1, 0, 0)
    outbox.relay(read, room >> 1, room, 0, 0)
    expect([outbox.room, outbox.congested], `after ${written} bytes`).toEqual([0, false])
    outbox.relay(read, room, room + 1, 0, 0)
    expect(outbox.congested, `after ${written} bytes`).toBe(true)
    expect(outbox.room).toBeLessThan(0)
  }
})

test('there is no room when the transport is gone', () => {
  const { outbox } = setup()
  outbox.close()
  expect(outbox.room).toBe(0)
})
