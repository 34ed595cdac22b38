import { once } from 'node:events'
import { createServer } from 'node:net'
import { expect, onTestFinished, test } from 'vitest'
import { freePort } from './free-port.ts'

test('whoever asks is given a port of its own, before any of them is used', async () => {
  const ports = await Promise.all(Array.from({ length: 50 }, () => freePort()))
  expect(new Set(ports).size).toBe(50)
  for (const port of ports) expect(port).toBeLessThan(32_768)
})

test('a port that somebody has is passed over when its turn comes again', async () => {
  const taken = await freePort()
  const server = createServer()
  onTestFinished(() => void server.close())
  await once(server.listen(taken, '127.0.0.1'), 'listening')
  const given: number[] = []
  while (new Set(given).size === given.length) given.push(await freePort())
  expect(given.length).toBeGreaterThan(900)
  expect(given).not.toContain(taken)
})
