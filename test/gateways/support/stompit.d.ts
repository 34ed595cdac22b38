/** The part of stompit 1.0 that tests use; the package brings no types. */
declare module 'stompit' {
  export interface Frame {
    write(text: string): void
    end(): void
  }

  export interface IncomingMessage {
    readString(encoding: 'utf8', done: (error: Error | null, text?: string) => void): void
  }

  export interface Client {
    subscribe(
      headers: Record<string, string>,
      onMessage: (error: Error | null, message: IncomingMessage) => void,
    ): void
    send(headers: Record<string, string>): Frame
    ack(message: IncomingMessage): void
    disconnect(done: (error: Error | null) => void): void
  }

  const stompit: {
    connect(
      options: { host: string; port: number; connectHeaders: Record<string, string> },
      done: (error: Error | null, client: Client) => void,
    ): void
  }
  export default stompit
}
