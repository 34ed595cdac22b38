/** The part of stompit 1.0 that tests use; the package brings no types. */
declare module 'stompit' {
  export interface Frame {
    write(text: string): void
    end(text?: string): void
  }

  export interface IncomingMessage {
    headers: Record<string, string>
    readString(encoding: 'utf8', done: (error: Error | null, text?: string) => void): void
  }

  export interface SendOptions {
    onReceipt(): void
  }

  /** What an ERROR frame becomes: `message` is its header, `longMessage` its body. */
  export interface StompError extends Error {
    longMessage?: string
  }

  export interface Client {
    headers: Record<string, string>
    on(event: 'error', listener: (error: StompError) => void): void
    on(event: 'end', listener: () => void): void
    subscribe(
      headers: Record<string, string>,
      onMessage: (error: Error | null, message: IncomingMessage) => void,
    ): void
    send(headers: Record<string, string>, options?: SendOptions): Frame
    sendFrame(command: string, headers: Record<string, string>, options?: SendOptions): Frame
    ack(message: Pick<IncomingMessage, 'headers'>): void
    nack(message: Pick<IncomingMessage, 'headers'>): void
    disconnect(done: (error: Error | null) => void): void
    destroy(error?: Error): void
    setCommandHandlers(handlers: Record<string, (frame: IncomingMessage) => void>): void
  }

  export interface ConnectOptions {
    host: string
    port: number
    connectHeaders: Record<string, string>
    ssl?: boolean
    ca?: Buffer
  }

  const stompit: {
    connect(options: ConnectOptions, done: (error: StompError | null, client: Client) => void): Client
  }
  export default stompit
}
