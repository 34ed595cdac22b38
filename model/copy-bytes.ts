/** Up to this many bytes a loop is faster than making the view that a native copy needs. */
const MAX_LOOP_BYTES = 24

/** Copies `from[start..end)` into `into` at `at`. The view made for it dies young, which costs less than one that is kept. */
export function copyBytes(into: Uint8Array, at: number, from: Uint8Array, start: number, end: number): void {
  const length = end - start
  if (length > MAX_LOOP_BYTES) into.set(new Uint8Array(from.buffer, from.byteOffset + start, length), at)
  else for (let i = 0; i < length; i++) into[at + i] = from[start + i] as number
}
