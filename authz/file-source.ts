/** `file`: rules from a file in the format of acl.conf, or from the config itself. */
import { readFile } from 'node:fs/promises'
import Type from 'typebox'
import type { Action, Permission } from '../model/access.ts'
import type { ClientInfo } from '../model/client-info.ts'
import { configPath } from '../model/config-path.ts'
import { BrokerError, messageOf } from '../model/errors.ts'
import { Strict } from '../model/schema.ts'
import { parseAclFile } from './acl-file.ts'
import { DEFAULT_RULES } from './default-rules.ts'
import { sourceFields } from './fields.ts'
import { compileRules } from './rule.ts'
import { RuleIndex } from './rule-index.ts'
import {
  defineSource,
  type Source,
  type SourceAnswer,
  type SourceBase,
  type SourceContext,
} from './source.ts'

const DEFAULT_FILE = 'acl.conf'

export interface FileSourceConfig extends SourceBase {
  path?: string
  rules?: string
}

const schema = Strict(
  {
    ...sourceFields('file'),
    path: Type.Optional(
      Type.String({
        minLength: 1,
        description: `File of rules; by default ${DEFAULT_FILE} beside the config file, if there is one, else rules built in`,
      }),
    ),
    rules: Type.Optional(Type.String({ description: 'The rules themselves, in place of a file' })),
  },
  { description: 'Rules in the format of acl.conf' },
)

export const fileSource = defineSource<FileSourceConfig>({
  type: 'file',
  schema,
  create: (config, context) => FileSource.open(config, context),
})

export class FileSource implements Source {
  readonly type = 'file'
  readonly #config: FileSourceConfig
  readonly #context: SourceContext
  #rules = new RuleIndex([])

  private constructor(config: FileSourceConfig, context: SourceContext) {
    this.#config = config
    this.#context = context
  }

  /** @throws BrokerError CONFIG_INVALID naming the file and the line */
  static async open(config: FileSourceConfig, context: SourceContext): Promise<FileSource> {
    if (config.path !== undefined && config.rules !== undefined) {
      throw new BrokerError('CONFIG_INVALID', 'an authorization file source has a path or rules, not both')
    }
    const source = new FileSource(config, context)
    await source.reload()
    return source
  }

  authorize(client: ClientInfo, action: Action, topic: string): SourceAnswer {
    return this.#rules.firstMatch(client, action, topic) ?? 'ignore'
  }

  settled(client: ClientInfo, action: Action): Permission | undefined {
    return this.#rules.settled(client, action)
  }

  /** @throws BrokerError CONFIG_INVALID, and the rules stay as they were */
  async reload(): Promise<void> {
    const { name, text } = await this.#read()
    try {
      this.#rules = new RuleIndex(compileRules(parseAclFile(text)))
    } catch (error) {
      throw new BrokerError('CONFIG_INVALID', `${name}: ${messageOf(error)}`)
    }
    this.#context.log.info({ rules: this.#rules.size, from: name }, 'authorization rules are read')
  }

  close(): void {}

  async #read(): Promise<{ name: string; text: string }> {
    if (this.#config.rules !== undefined) return { name: 'authorization rules', text: this.#config.rules }
    const path = configPath(this.#context.configDir, this.#config.path ?? DEFAULT_FILE)
    try {
      return { name: path, text: await readFile(path, 'utf8') }
    } catch (error) {
      const isMissing = error instanceof Error && 'code' in error && error.code === 'ENOENT'
      if (isMissing && this.#config.path === undefined) return { name: 'built-in rules', text: DEFAULT_RULES }
      throw new BrokerError('CONFIG_INVALID', `cannot read the authorization rules: ${messageOf(error)}`)
    }
  }
}
