/** A broker inside a program of yours, with functions attached to its hooks. docs/hooks.md explains it. */
import { loadConfig } from '../../config/load.ts'
import { configSchema } from '../../config/schema.ts'
import { Hubbub } from '../../main.ts'
import { Message } from '../../model/message.ts'
import { createLog } from '../../observability/log.ts'

/** @param overrides - options in the spelling of the config file */
export function startBroker(overrides: object): Promise<Hubbub> {
  const { config } = loadConfig({ schema: configSchema(), file: undefined, env: {}, overrides })
  return Hubbub.start(config, process.cwd(), createLog(config.log), attachHooks)
}

/** Called before anybody can connect. */
function attachHooks({ hooks, hub }: Hubbub): void {
  // Runs for every message. Nothing returned: the message goes on as it is.
  hooks.add('message.publish', 'no-secrets', (decision) => {
    if (!(decision instanceof Message)) return undefined // somebody has dropped it already
    return decision.topic.startsWith('secret/') ? { stop: 'drop' } : undefined
  })

  // Only notified; what it returns does not matter.
  hooks.add('client.connected', 'greet', (client) => {
    const hello = Buffer.from(`hello ${client.clientId}`)
    return hub.publish(Message.of('news', hello, 0, false, undefined, undefined, Date.now()))
  })
}
