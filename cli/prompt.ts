import type { CliContext } from './context.ts'
import { CommandFailed } from './context.ts'

type Terminal = Pick<CliContext, 'stdin' | 'note'>

const MAX_INPUT_CHARS = 65_536 // a password, not a file given by mistake

/** The whole standard input, without the line end that `echo` puts behind it. */
export async function readPassword({ stdin }: Terminal): Promise<string> {
  let text = ''
  for await (const chunk of stdin.setEncoding('utf8')) {
    text += chunk
    if (text.length > MAX_INPUT_CHARS) throw new CommandFailed('standard input is too long for a password')
  }
  return text.replace(/\r?\n$/, '')
}

/** Asks twice on the terminal, showing nothing of what is typed. */
export async function askNewPassword(terminal: Terminal): Promise<string> {
  if (!terminal.stdin.isTTY) {
    throw new CommandFailed('there is no terminal to ask for the password: use --password-stdin')
  }
  const first = await askHidden(terminal, 'Password: ')
  if (first !== (await askHidden(terminal, 'Once more: ')))
    throw new CommandFailed('the two passwords differ')
  return first
}

/** Asks once on the terminal, showing nothing of what is typed. */
export function askPassword(terminal: Terminal): Promise<string> {
  if (terminal.stdin.isTTY) return askHidden(terminal, 'Password: ')
  throw new CommandFailed(
    'there is no terminal to ask for the password: use --password-stdin, or --no-password for a login without one',
  )
}

/** Raw mode, because that is what keeps a terminal from echoing; so the editing keys are ours to serve. */
function askHidden(terminal: Terminal, question: string): Promise<string> {
  const { stdin } = terminal
  terminal.note(question)
  return new Promise((resolve, reject) => {
    let typed = ''
    const finish = (settle: () => void) => {
      stdin.off('data', onData).off('end', onEnd)
      stdin.setRawMode?.(false)
      stdin.pause()
      terminal.note('\n')
      settle()
    }
    const cancel = () => finish(() => reject(new CommandFailed('cancelled')))
    const onEnd = cancel
    const onData = (chunk: Buffer | string) => {
      for (const key of chunk.toString()) {
        if (key === '\r' || key === '\n') return finish(() => resolve(typed))
        if (key === CTRL_C || key === CTRL_D) return cancel()
        typed = edit(typed, key)
      }
    }
    stdin.setRawMode?.(true)
    stdin.on('data', onData).on('end', onEnd).resume()
  })
}

const CTRL_C = '\u0003'
const CTRL_D = '\u0004'
const CTRL_U = '\u0015'
const ERASE = ['\u007f', '\b']

function edit(typed: string, key: string): string {
  if (key === CTRL_U) return ''
  if (ERASE.includes(key)) return Array.from(typed).slice(0, -1).join('')
  return key < ' ' ? typed : typed + key
}
