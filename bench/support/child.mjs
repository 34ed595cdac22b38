/** A process that does what it is told, one call at a time, over Node's IPC channel. */
import { fork } from 'node:child_process'

/** @returns the process with `call(name, ...args)`; it dies with this one */
export function start(file, ...args) {
  const child = fork(file, args, { execArgv: ['--expose-gc', '--max-old-space-size=8192'] })
  child.on('exit', (code) => {
    if (code !== 0) throw new Error(`${file} ended with ${code}`)
  })
  let answered
  child.on('message', (answer) => answered(answer))
  return {
    call: (name, ...callArgs) =>
      new Promise((resolve) => {
        answered = resolve
        child.send({ name, args: callArgs })
      }),
  }
}

/** The other side of it: ends when the one who calls has ended. */
export function serve(calls) {
  const answer = async ({ name, args }) => process.send((await calls[name](...args)) ?? null)
  process.on('disconnect', () => process.exit(0))
  process.on('message', (call) => void answer(call))
}
