/** Who must act on an error; also its log level: a peer's fault is a debug line, a bug an error with its stack. */
export type Fault = 'peer' | 'config' | 'backend' | 'bug'

/** Every error a program may match on. People read the message, `cause` keeps the origin. */
export const CODES = {
  FRAME_MALFORMED: { fault: 'peer', retryable: false },
  FRAME_TOO_LARGE: { fault: 'peer', retryable: false },
  PROTOCOL_VIOLATED: { fault: 'peer', retryable: false },
  TOPIC_INVALID: { fault: 'peer', retryable: false },
  TOPIC_ALIAS_INVALID: { fault: 'peer', retryable: false },
  LIMIT_EXCEEDED: { fault: 'peer', retryable: false },
  CONFIG_INVALID: { fault: 'config', retryable: false },
  LISTEN_FAILED: { fault: 'config', retryable: true },
  BACKEND_FAILED: { fault: 'backend', retryable: true },
  BACKEND_TIMEOUT: { fault: 'backend', retryable: true },
  STORAGE_FAILED: { fault: 'backend', retryable: true },
  INTERNAL: { fault: 'bug', retryable: false },
} as const satisfies Record<string, { fault: Fault; retryable: boolean }>

export type ErrorCode = keyof typeof CODES

export class BrokerError extends Error {
  override readonly name = 'BrokerError'
  readonly code: ErrorCode

  constructor(code: ErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options)
    this.code = code
  }

  get fault(): Fault {
    return CODES[this.code].fault
  }
}

/** The fault of anything thrown: what is not ours is a bug until proven otherwise. */
export function faultOf(error: unknown): Fault {
  return error instanceof BrokerError ? error.fault : 'bug'
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
