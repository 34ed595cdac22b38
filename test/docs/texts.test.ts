/** What the texts for people say, as far as a machine can tell: links lead somewhere, config and rules load. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { expect, test } from 'vitest'
import { parseAclFile } from '../../authz/acl-file.ts'
import { explain } from '../../config/explain.ts'
import { loadConfig } from '../../config/load.ts'
import { configSchema } from '../../config/schema.ts'
import { asNode } from '../../config/walk.ts'
import { writeConfig } from '../config/sample.ts'

const ROOT = join(import.meta.dirname, '..', '..')
const TEXTS = [
  'README.md',
  'CHANGELOG.md',
  ...['docs', 'docs/decisions'].flatMap((folder) =>
    readdirSync(join(ROOT, folder))
      .filter((name) => name.endsWith('.md'))
      .map((name) => join(folder, name)),
  ),
  ...readdirSync(join(ROOT, 'gateways'), { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => join('gateways', name, 'README.md')),
]
const schema = configSchema()

function read(file: string): string {
  return readFileSync(join(ROOT, file), 'utf8')
}

function blocksOf(text: string, language: string): string[] {
  return [...text.matchAll(new RegExp(`^\`\`\`${language}\n(.*?)^\`\`\``, 'gms'))].map(
    ([, code = '']) => code,
  )
}

/** As GitHub makes them of headings. */
function anchorsOf(text: string): string[] {
  return [...text.matchAll(/^#+ (.*)$/gm)].map(([, heading = '']) =>
    heading
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-'),
  )
}

test.each(TEXTS)('every link in %s leads somewhere', (file) => {
  const broken = [...read(file).matchAll(/\]\((?!https?:)([^)\s]*)\)/g)].flatMap(([, link = '']) => {
    const [path = '', anchor] = link.split('#')
    const target = path === '' ? file : relative(ROOT, resolve(ROOT, dirname(file), path))
    if (!existsSync(join(ROOT, target))) return [link]
    const isLine = /^L\d+$/.test(anchor ?? '') && !target.endsWith('.md')
    return anchor === undefined || isLine || anchorsOf(read(target)).includes(anchor) ? [] : [link]
  })
  expect(broken).toEqual([])
})

test.each(TEXTS.filter((file) => blocksOf(read(file), 'yaml').length > 0))(
  'every piece of configuration in %s loads, and so do the rules in it',
  (file) => {
    for (const block of blocksOf(read(file), 'yaml')) {
      const { config } = loadConfig({ schema, file: writeConfig(block), env: {} })
      for (const source of config.authorization.sources) {
        if ('rules' in source) parseAclFile(String(source.rules))
      }
    }
  },
)

test('the rules in the texts are rules', () => {
  const rules = TEXTS.flatMap((file) => blocksOf(read(file), 'erlang'))
  expect(rules.flatMap(parseAclFile).length).toBeGreaterThan(2)
})

test('every environment variable in the texts is an option', () => {
  const found = TEXTS.flatMap((file) => [...read(file).matchAll(/^ {4}(HUBBUB__\w+)=('[^']*'|\S+)/gm)])
  expect(found.length).toBeGreaterThan(3)
  for (const [, name = '', value = ''] of found) {
    const env = { [name]: value.replaceAll("'", ''), ...(name.includes('__1__') ? AUTHENTICATION : {}) }
    expect(() => loadConfig({ schema, file: undefined, env }), name).not.toThrow()
  }
})

const AUTHENTICATION = {
  HUBBUB__AUTHENTICATION:
    '[{ mechanism: password_based, backend: built_in_database, password_hash_algorithm: { name: bcrypt } }]',
}

test('every option of `mqtt` that the texts name is one', () => {
  const known = Object.keys(asNode(schema).properties?.mqtt?.properties ?? {})
  expect(known).toContain('max_inflight')
  const named = [
    ...read('docs/mqtt.md').matchAll(/`((?:max|session|mqueue|keepalive|retain|wildcard|shared)_\w+)/g),
  ]
  expect(named.map(([, name]) => name).filter((name) => !known.includes(name as string))).toEqual([])
  for (const [, path = ''] of read('docs/configure.md').matchAll(/config explain (\S+\.\S+)/g)) {
    expect(explain(schema, path).path).toBe(path)
  }
})
