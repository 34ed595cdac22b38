import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { Place } from '../control/support.ts'
import { FakeContext } from './run-cli.ts'

const WITH_RULES = {
  authorization: { no_match: 'deny', sources: [{ type: 'built_in_database', max_rules: 3 }] },
}
const FILE = JSON.stringify([
  { username: 'ann', rules: [{ permission: 'allow', action: 'publish', topic: 'a/${clientid}' }] },
  { rules: [{ permission: 'deny', action: 'all', topic: '#', qos: 1 }] },
])
const LISTED =
  'username\tann\t1\tallow\tpublish\ta/${clientid}\t0,1,2\tall\nall\t-\t1\tdeny\tall\t#\t1\tall\n'

async function file(place: Place, text: string, name = 'rules.json'): Promise<string> {
  const path = join(place.dir, name)
  await writeFile(path, text)
  return path
}

test('rules of a broker that does not run are there when it does, and the other way round', async () => {
  const place = new Place(WITH_RULES)
  expect(await place.hubbub('rules', 'import', await file(place, FILE))).toEqual({
    code: 0,
    stdout: 'added 2, replaced 0, left as they were 0\n',
    stderr: '',
  })
  expect((await place.hubbub('rules', 'list')).stdout).toBe(LISTED)

  const broker = await place.start()
  expect((await place.hubbub('rules', 'list')).stdout).toBe(LISTED)
  const added = await place.hubbub(
    'rules',
    'add',
    '--username',
    'ann',
    'deny',
    'sub',
    'b',
    '--qos',
    '0,1',
    '--first',
  )
  expect(added).toEqual({ code: 0, stdout: 'added deny subscribe b\n', stderr: '' })
  expect((await place.hubbub('rules', 'delete', '--all')).stdout).toBe('deleted\n')
  await broker.stop()

  expect((await place.hubbub('rules', 'list', '--json', '--username', 'ann')).stdout).toBe(
    `${JSON.stringify({
      username: 'ann',
      rules: [
        { permission: 'deny', action: 'subscribe', topic: 'b', qos: [0, 1], retain: 'all' },
        { permission: 'allow', action: 'publish', topic: 'a/${clientid}', qos: [0, 1, 2], retain: 'all' },
      ],
    })}\n`,
  )
  expect((await place.hubbub('rules', 'list', '--all')).stdout).toBe('')
})

test('many are handed over in portions, and who has rules keeps them unless told otherwise', async () => {
  const place = new Place(WITH_RULES)
  await place.start()
  const rows = Array.from({ length: 1200 }, (_, i) => `allow,all,t/${i},client-${i}`)
  const csv = await file(place, ['permission,action,topic,clientid', ...rows].join('\n'), 'rules.csv')
  expect((await place.hubbub('rules', 'import', csv)).stdout).toBe(
    'added 1200, replaced 0, left as they were 0\n',
  )
  expect((await place.hubbub('rules', 'import', csv)).stdout).toBe(
    'added 0, replaced 0, left as they were 1200\n',
  )
  expect((await place.hubbub('rules', 'import', csv, '--replace')).stdout).toBe(
    'added 0, replaced 1200, left as they were 0\n',
  )
})

test('what cannot be done says why', async () => {
  const place = new Place(WITH_RULES)
  await place.start()
  const say = async (...args: string[]) => {
    const { code, stderr } = await place.hubbub('rules', ...args)
    expect(code).not.toBe(0)
    return stderr
  }
  expect(await say('add', 'allow', 'all', 'a')).toContain('--clientid, --username or --all')
  expect(await say('add', 'maybe', 'all', 'a', '--all')).toContain('permission must be allow or deny')
  expect(await say('add', 'allow', 'all', 'a/#/b', '--all')).toContain('not a topic filter')
  expect(await say('list', '--all', '--username', 'x')).toContain('say one of')
  expect(await say('delete', '--username', 'nobody')).toContain('no such rule')
  expect(await say('delete', 'x', '--all')).toContain('no number of a rule')
  const tooMany = Array.from({ length: 4 }, () => ({ permission: 'allow', action: 'all', topic: 'a' }))
  const path = await file(place, JSON.stringify([{ username: 'eve', rules: tooMany }]))
  expect(await say('import', path)).toContain('max_rules is 3')
  expect((await place.hubbub('rules', 'list')).stdout).toBe('')
})

test('rules that nobody asks are told of', async () => {
  const place = new Place()
  const { code, stderr } = await place.hubbub('rules', 'add', '--all', 'deny', 'all', '#')
  expect(code).toBe(0)
  expect(stderr).toContain('authorization.sources has no enabled built_in_database')
})

test('a bar shows how far an import is', async () => {
  const place = new Place(WITH_RULES)
  const context = Object.assign(new FakeContext(), { isTerminal: true })
  const { stderr } = await place.run(context, 'rules', 'import', await file(place, FILE))
  expect(stderr).toContain('import [##############################] 2')
})
