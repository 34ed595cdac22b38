import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import Type, { type Static } from 'typebox'
import { onTestFinished } from 'vitest'
import { type LoadOptions, loadConfig } from '../../config/load.ts'
import { ConfigError, formatProblem } from '../../config/problem.ts'
import {
  BindAddress,
  Count,
  Duration,
  Named,
  RateOf,
  Secret,
  Size,
  Strict,
  Variant,
} from '../../model/schema.ts'

const passwordBased = {
  ...Variant('backend', [
    Strict({
      mechanism: Type.Literal('password_based'),
      backend: Type.Literal('built_in'),
      rounds: Count(10, { description: 'Rounds', minimum: 4, maximum: 31 }),
    }),
    Strict({
      mechanism: Type.Literal('password_based'),
      backend: Type.Literal('http'),
      secret: Secret({ description: 'Sent along' }),
    }),
  ]),
  properties: { mechanism: Type.Literal('password_based') },
  required: ['mechanism', 'backend'],
}

/** Every construct our schemas are made of, once. */
export const sampleSchema = Strict({
  listeners: Strict({
    tcp: Named(
      Strict({
        bind: BindAddress(1883, { description: 'Where to listen' }),
        max_connections: Count('infinity', { description: 'Most connections', minimum: 1, hot: true }),
        messages_rate: RateOf('infinity', { description: 'Messages' }),
        label: Type.Optional(Type.String({ description: 'Free text' })),
      }),
      { description: 'TCP listeners, by name' },
    ),
  }),
  mqtt: Strict({
    idle_timeout: Duration('15s', { description: 'Until CONNECT', hot: true }),
    max_packet_size: Size('1MB', { description: 'Largest packet' }),
    max_qos: Type.Integer({ minimum: 0, maximum: 2, default: 2, description: 'Highest QoS' }),
    strict: Type.Boolean({ default: false, description: 'Strict' }),
    expiry: Type.Union([Type.Literal('disabled'), Duration(undefined, { description: 'How long' })], {
      default: '2h',
      description: 'Expiry or disabled',
    }),
  }),
  authentication: Type.Array(
    Variant<{ mechanism: string }>('mechanism', [
      passwordBased,
      Strict({
        mechanism: Type.Literal('jwt'),
        enable: Type.Boolean({ default: true }),
        secret: Secret({ description: 'Signs the tokens' }),
        timeout: Duration('5s', { description: 'Deadline' }),
      }),
    ]),
    { default: [], description: 'Asked in order' },
  ),
  mode: Type.Union([Type.Literal('fast'), Type.Literal('safe')], { default: 'safe', description: 'Mode' }),
})

/** A directory of its own, gone when the test is over. */
export function temporaryDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'hubbub-test-'))
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}

export function writeConfig(text: string): string {
  const file = join(temporaryDirectory(), 'hubbub.yaml')
  writeFileSync(file, text)
  return file
}

/** Loads `text` as the config file. */
export function load(text: string, more: Partial<LoadOptions<typeof sampleSchema>> = {}) {
  return loadConfig({ schema: sampleSchema, file: writeConfig(text), env: {}, ...more })
}

/** The config without its static type: tests ask for paths. */
export type SampleConfig = Static<typeof sampleSchema>

/** The lines an operator would read, without the directory of the file. */
export function problemsOf(text: string, more: Partial<LoadOptions<typeof sampleSchema>> = {}): string[] {
  try {
    load(text, more)
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    return error.problems.map((problem) => formatProblem(problem).replace(/^\S*\/(?=hubbub\.yaml)/, ''))
  }
  return []
}
