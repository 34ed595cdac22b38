import { expect, test } from 'vitest'
import { SessionDelivery } from '../../broker/delivery.ts'
import { Inflight } from '../../broker/inflight.ts'
import { message } from './mqtt/support.ts'

function filled(count: number) {
  const inflight = new Inflight()
  const deliveries = Array.from(
    { length: count },
    () => new SessionDelivery(message('t', 'x'), 1, false, undefined),
  )
  for (const delivery of deliveries) inflight.add(delivery)
  return { inflight, deliveries }
}

test('what is taken out is the delivery with that packet id, and it is gone', () => {
  const { inflight, deliveries } = filled(3)
  expect(inflight.take(2)).toBe(deliveries[1])
  expect(inflight.take(2)).toBeUndefined()
  expect(inflight.get(2)).toBeUndefined()
  expect(inflight.size).toBe(2)
  expect(inflight.inOrder()).toEqual([deliveries[0], deliveries[2]])
})

test('an id that nobody has takes nothing, though another one is in its place', () => {
  const { inflight } = filled(3)
  for (const id of [0, 4, 2 + 8, 2 + 16, 2 + 65_536, 65_535])
    expect(inflight.take(id), String(id)).toBeUndefined()
  expect(inflight.size).toBe(3)
})

test('ids are given out in turn, those that are in use are passed over when they begin anew', () => {
  const { inflight, deliveries } = filled(65_534)
  expect(inflight.take(3)).toBe(deliveries[2])
  expect(inflight.take(5)).toBe(deliveries[4])
  const more = filled(3).deliveries
  for (const delivery of more) inflight.add(delivery)
  expect(more.map(({ packetId }) => packetId)).toEqual([65_535, 3, 5])
  expect(more.map(({ packetId }) => inflight.take(packetId))).toEqual(more)
  expect(inflight.size).toBe(65_532)
})
