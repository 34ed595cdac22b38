import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { findConfig } from '../../cli/find-config.ts'
import { BrokerError } from '../../model/errors.ts'
import { packageRoot } from '../../model/packaged.ts'
import { writeConfig } from '../config/sample.ts'
import { FakeContext } from './run-cli.ts'

test('start says which config file it takes and hands it to the broker', async () => {
  const cli = new FakeContext()
  expect(await cli.hubbub('start', '--config', '/x/hubbub.yaml', '--data-dir', '/var/lib/hubbub')).toBe(0)
  expect(cli.runs).toEqual([
    { configFile: '/x/hubbub.yaml', env: cli.env, overrides: { node: { data_dir: '/var/lib/hubbub' } } },
  ])
  expect(cli.noted).toBe('config file /x/hubbub.yaml (given with --config)\n')
})

test('the config file is the named one, else the first of the usual places', () => {
  const cli = new FakeContext()
  cli.packageRoot = join(cli.cwd, 'package')
  mkdirSync(join(cli.packageRoot, 'etc'), { recursive: true })
  expect(findConfig(cli, undefined).file).not.toBe('etc/hubbub.yaml')

  const packaged = join(cli.packageRoot, 'etc', 'hubbub.yaml')
  writeFileSync(packaged, '')
  expect([packaged, '/etc/hubbub/hubbub.yaml']).toContain(findConfig(cli, undefined).file)

  mkdirSync(join(cli.cwd, 'etc'))
  writeFileSync(join(cli.cwd, 'etc', 'hubbub.yaml'), '')
  expect(findConfig(cli, undefined).file).toBe('etc/hubbub.yaml')

  cli.env.HUBBUB_CONFIG = '/from/env.yaml'
  expect(findConfig(cli, undefined).file).toBe('/from/env.yaml')
  expect(findConfig(cli, 'asked.yaml').file).toBe('asked.yaml')
})

test('a start that fails ends with 1, or with 2 when the configuration is to blame', async () => {
  const failures: [unknown, number, string][] = [
    [new BrokerError('LISTEN_FAILED', 'port 1883 is taken'), 1, 'hubbub: port 1883 is taken\n'],
    [new BrokerError('CONFIG_INVALID', 'no such certificate'), 2, 'hubbub: no such certificate\n'],
  ]
  for (const [error, code, words] of failures) {
    const cli = new FakeContext()
    cli.run = () => Promise.reject(error)
    expect(await cli.hubbub('start')).toBe(code)
    expect(cli.noted).toContain(words)
    expect(cli.noted).not.toContain('at ')
  }
})

test('a bug is reported with its stack', async () => {
  const cli = new FakeContext()
  cli.run = () => Promise.reject(new TypeError('x is undefined'))
  expect(await cli.hubbub('start')).toBe(1)
  expect(cli.noted).toMatch(/TypeError: x is undefined\n\s+at /)
})

test('the version is the one of package.json', async () => {
  const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string }
  for (const args of [['version'], ['--version'], ['-V']]) {
    const cli = new FakeContext()
    expect(await cli.hubbub(...args)).toBe(0)
    expect(cli.printed).toBe(`${version}\n`)
  }
})

test('the package is found from the sources and from what they are compiled to', () => {
  expect(packageRoot(join(process.cwd(), 'cli'))).toBe(process.cwd())
  expect(packageRoot(join(process.cwd(), 'dist', 'cli'))).toBe(process.cwd())
})

test('wrong usage ends with 2 and names what was meant', async () => {
  const usages: [string[], string][] = [
    [['strat'], 'Did you mean start?'],
    [['start', '--cofnig', 'x'], 'Did you mean --config?'],
    [['users', 'add'], "missing required argument 'id'"],
    [['config', 'check', '-c'], 'argument missing'],
  ]
  for (const [args, words] of usages) {
    const cli = new FakeContext()
    expect(await cli.hubbub(...args), args.join(' ')).toBe(2)
    expect(cli.noted).toContain(words)
  }
})

test('help has examples and ends with 0', async () => {
  for (const args of [['--help'], ['users', 'add', '--help'], ['config', 'explain', '--help']]) {
    const cli = new FakeContext()
    expect(await cli.hubbub(...args)).toBe(0)
    expect(cli.printed).toMatch(/Examples?:\n {2}\S*.*hubbub/)
  }
})

test('config check tells every problem on a line of its own and ends with 2', async () => {
  const cli = new FakeContext()
  const file = writeConfig('node: { nam: x }\nlog: { level: loud }\n')
  expect(await cli.hubbub('config', 'check', '-c', file)).toBe(2)
  expect(cli.noted.split('\n')).toEqual([
    `${file}:1:9: node.nam: unknown option, did you mean name?`,
    `${file}:2:15: log.level: expected one of debug, info, warn, error, found "loud"`,
    '',
  ])
  expect(cli.printed).toBe('')
})

test('config check of a good file says so', async () => {
  const cli = new FakeContext()
  const file = writeConfig('log: { level: debug }')
  expect(await cli.hubbub('config', 'check', '--config', file)).toBe(0)
  expect(cli.printed).toBe(`config file ${file} (given with --config): no problems\n`)
})

test('config show prints what was set, and with --all everything', async () => {
  const cli = new FakeContext()
  cli.env.HUBBUB__LOG__FORMAT = 'json'
  const file = writeConfig('node: { shutdown_timeout: 60s }')
  expect(await cli.hubbub('config', 'show', '-c', file)).toBe(0)
  expect(cli.printed).toBe('node:\n  shutdown_timeout: 1m\nlog:\n  format: json\n')
  cli.printed = ''
  expect(await cli.hubbub('config', 'show', '--all', '-c', file)).toBe(0)
  expect(cli.printed).toContain('  data_dir: ./data\n')
})

test('config explain tells meaning, type, default, value and layer', async () => {
  const cli = new FakeContext()
  cli.env.HUBBUB__LOG__LEVEL = 'debug'
  expect(await cli.hubbub('config', 'explain', 'log.level')).toBe(0)
  expect(cli.printed).toBe(
    [
      'log.level',
      '  The least important events that are written',
      '  takes    one of debug, info, warn, error',
      '  default  info',
      '  now      debug (from the environment)',
      '  change   takes effect on reload',
      '',
    ].join('\n'),
  )
})

test('config explain lists a section, and answers a typo with the nearest option', async () => {
  const cli = new FakeContext()
  expect(await cli.hubbub('config', 'explain')).toBe(0)
  expect(cli.printed).toMatch(/^ {2}node +This broker process$/m)
  expect(await cli.hubbub('config', 'explain', 'log.lvel')).toBe(2)
  expect(cli.noted).toContain('hubbub: there is no option log.lvel, did you mean log.level?\n')
})

test('config explain works beside a config with problems', async () => {
  const cli = new FakeContext()
  cli.env.HUBBUB__NODE__NAME = 'no at sign'
  expect(await cli.hubbub('config', 'explain', 'log.level')).toBe(0)
  expect(cli.printed).not.toContain('now')
  expect(cli.noted).toContain('has problems')
})
