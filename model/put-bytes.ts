/** For frames that are put together of short pieces of text. */
import { copyBytes } from './copy-bytes.ts'

/** Up to this many bytes a loop, four a step, is quicker than the view a native copy needs. */
const MAX_LOOP_BYTES = 96
const ZERO = 48

/** Copies `bytes[from..to)`. @returns where it ends */
export function put(into: Uint8Array, at: number, bytes: Uint8Array, from = 0, to = bytes.length): number {
  if (to - from > MAX_LOOP_BYTES) copyBytes(into, at, bytes, from, to)
  else putShort(into, at, bytes, from, to)
  return at + to - from
}

function putShort(into: Uint8Array, at: number, bytes: Uint8Array, from: number, to: number): void {
  let next = at
  let i = from
  for (; i + 3 < to; i += 4, next += 4) {
    into[next] = bytes[i] as number
    into[next + 1] = bytes[i + 1] as number
    into[next + 2] = bytes[i + 2] as number
    into[next + 3] = bytes[i + 3] as number
  }
  for (; i < to; i++) into[next++] = bytes[i] as number
}

/** Writes a number, 0 or greater, in decimal digits. @returns where it ends */
export function putNumber(into: Uint8Array, at: number, value: number): number {
  const end = at + digits(value)
  let rest = value
  for (let i = end - 1; i >= at; i--) {
    const shorter = Math.floor(rest / 10)
    into[i] = ZERO + (rest - shorter * 10)
    rest = shorter
  }
  return end
}

/** How many decimal digits a number has, 0 or greater. */
export function digits(value: number): number {
  let count = 1
  for (let limit = 10; value >= limit; limit *= 10) count++
  return count
}
