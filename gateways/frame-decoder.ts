/**
 * What a byte-stream gateway gives to `StreamConnection`: something that cuts
 * frames off the front of bytes. It holds no bytes itself, only how far it has
 * looked, so a frame that arrives one byte at a time is still scanned once.
 */
export interface FrameDecoder<Frame> {
  /**
   * Looks for a frame in `bytes` from `from` to the end. Afterwards `position` says where to go on, frame
   * or not: what lies before it is done with. Without a frame, the next call must be given the same bytes
   * from `position` on, and more behind them.
   *
   * A frame may hold slices of `bytes`.
   * @throws BrokerError FRAME_MALFORMED, FRAME_TOO_LARGE, as early as the bytes show it.
   *   The decoder is not used again after that.
   */
  decode(bytes: Buffer, from: number): Frame | undefined
  readonly position: number
  /** When known, how many bytes from `position` on the frame under way has in all; else 0. */
  readonly wantedBytes: number
}
