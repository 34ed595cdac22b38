/** A broker inside a program of yours, with functions attached to its hooks. docs/hooks.md explains it. */
import { loadConfig } from '../../config/load.ts'
import { configSchema } from '../../config/schema.ts'
import { Hubbub } from '../../main.ts'
import { Message } from '../../model/message.ts'
import { createLog } from '../../observability/log.ts'

/** @param overrides - options in the spelling of the config file */
export async function startBroker(overrides: object): Promise<Hubbub> {
  const { config } = loadConfig({ schema: configSchema(), file: undefined, env: {}, overrides })
  const broker = await Hubbub.start(config, process.cwd(), createLog(config.log))

  // Runs for every message. Nothing returned: the message goes on as it is.
  broker.hooks.add('message.publish', 'no-secrets', (decision) => {
    if (!(decision instanceof Message)) return undefined // somebody has dropped it already
    return decision.topic.startsWith('secret/') ? { stop: 'drop' } : undefined
  })

  // Only notified; what it returns does not matter.
  broker.hooks.add('client.connected', 'greet', (client) => {
    const hello = Buffer.from(`hello ${client.clientId}`)
    return broker.hub.publish(new Message('news', hello, 0, false, undefined, undefined, Date.now()))
  })
  return broker
}
