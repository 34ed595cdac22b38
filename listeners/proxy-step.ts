import type { Socket } from 'node:net'
import { BrokerError } from '../model/errors.ts'
import { decodeProxyHeader, type ProxyHeader } from './proxy-protocol.ts'

/**
 * Reads the PROXY header off a fresh socket. The bytes behind it are put back, and the socket is
 * left paused for who comes next. Exactly one of the two is called, unless the peer closes before.
 * @param timeoutMs - by when the header must be complete
 */
export function readProxyHeader(
  socket: Socket,
  timeoutMs: number,
  onHeader: (header: ProxyHeader) => void,
  onFailure: (error: BrokerError) => void,
): void {
  let seen: Buffer | undefined
  const late = new BrokerError('PROTOCOL_VIOLATED', `no PROXY header within ${timeoutMs} ms`)
  const timer = timeoutMs === Number.POSITIVE_INFINITY ? undefined : setTimeout(() => fail(late), timeoutMs)

  const detach = (): void => {
    clearTimeout(timer)
    socket.off('data', onData)
    socket.off('end', onEnd)
    socket.off('close', detach)
    socket.pause()
  }
  const fail = (error: unknown): void => {
    detach()
    onFailure(
      error instanceof BrokerError ? error : new BrokerError('INTERNAL', 'PROXY header', { cause: error }),
    )
  }
  const onEnd = (): void =>
    fail(new BrokerError('FRAME_MALFORMED', 'PROXY header: the connection ended before it'))
  const onData = (chunk: Buffer): void => {
    try {
      seen = seen === undefined ? chunk : Buffer.concat([seen, chunk])
      const decoded = decodeProxyHeader(seen)
      if (decoded.kind === 'need') return
      detach()
      if (decoded.used < seen.length) socket.unshift(seen.subarray(decoded.used))
      onHeader(decoded.header)
    } catch (error) {
      fail(error)
    }
  }
  socket.on('data', onData)
  socket.on('end', onEnd)
  socket.on('close', detach)
}
