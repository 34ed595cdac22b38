import { readdirSync, readFileSync } from 'node:fs'

/** Sends SIGSTOP and comes back when every thread has stopped: what is asked from then on is not answered. */
export function pauseProcess(pid: number | undefined): void {
  if (pid === undefined) return
  process.kill(pid, 'SIGSTOP')
  while (!hasStopped(pid));
}

/** Where the system does not say, it is taken to be so. */
function hasStopped(pid: number): boolean {
  try {
    const threads = readdirSync(`/proc/${pid}/task`)
    // The state follows the name, which is in parentheses and may hold anything.
    return threads.every((thread) =>
      /^\d+ \(.*\) [TtZX]/s.test(readFileSync(`/proc/${pid}/task/${thread}/stat`, 'utf8')),
    )
  } catch {
    return true
  }
}
