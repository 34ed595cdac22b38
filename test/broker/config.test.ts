import { expect, test } from 'vitest'
import { hubOptionsOf } from '../../assemble.ts'
import { mqttOptions } from '../../broker/config.ts'
import { loadConfig } from '../../config/load.ts'
import { configSchema } from '../../config/schema.ts'
import { writeConfig } from '../config/sample.ts'

const load = (yaml: string) => loadConfig({ schema: configSchema(), file: writeConfig(yaml), env: {} }).config

test('what the file says of priorities, expiry, exclusive subscriptions and responses arrives in the options', () => {
  const config = load(`
mqtt:
  mqueue_priorities: { alarms/fire: 255, $SYS/x.y: 1 }
  mqueue_default_priority: highest
  message_expiry_interval: 1h
  exclusive_subscription: true
  response_information: replies/
`)
  expect(hubOptionsOf(config)).toMatchObject({
    session: {
      priorities: {
        byTopic: new Map([
          ['alarms/fire', 255],
          ['$SYS/x.y', 1],
        ]),
        others: 'highest',
      },
    },
    messageExpiryMs: 3_600_000,
    exclusiveSubscription: true,
  })
  expect(mqttOptions(config.mqtt).responseInformation).toBe('replies/')
})

test('by default all of them are off', () => {
  const config = load('mqtt: {}')
  expect(hubOptionsOf(config)).toMatchObject({
    session: { priorities: undefined },
    messageExpiryMs: Number.POSITIVE_INFINITY,
    exclusiveSubscription: false,
  })
  expect(mqttOptions(config.mqtt).responseInformation).toBe('')
})

test.each(['0', '256', 'high'])('a priority of %s is refused', (priority) => {
  expect(() => load(`mqtt: { mqueue_priorities: { t: ${priority} } }`)).toThrow('mqtt.mqueue_priorities')
})
