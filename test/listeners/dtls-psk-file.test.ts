import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { createDatagramListener } from '../../listeners/datagram-listeners.ts'
import { type PskConfig, PskFile } from '../../listeners/dtls/psk-file.ts'
import { silentLogger } from '../../model/log.ts'
import { temporaryDirectory } from '../config/sample.ts'
import { DtlsProbe, dtlsOptions, Echo, listenDatagrams } from './datagram-support.ts'

function keysOf(text: string, changes: Partial<PskConfig> = {}) {
  const dir = temporaryDirectory()
  writeFileSync(join(dir, 'keys.psk'), text)
  const config = { enable: true, init_file: 'keys.psk', separator: ':', ...changes }
  const file = new PskFile(config, dir)
  const update = (more: Partial<PskConfig> = {}) => file.update({ ...config, ...more })
  const find = (identity: string) => file.lookup?.(identity)?.toString()
  return { dir, file, update, find }
}

test('a line is an identity and the secret as it is written', () => {
  const { find } = keysOf('meter-7:secret\r\nmeter 8:with:colons \n\nmeter-7:newer\n')
  expect([find('meter-7'), find('meter 8'), find('meter-9'), find('__proto__')]).toEqual([
    'newer',
    'with:colons ',
    undefined,
    undefined,
  ])
  expect(keysOf('a:b=>c', { separator: '=>' }).find('a:b')).toBe('c')
  expect(keysOf('m:secret', { init_file: '${EMQX_ETC_DIR}/keys.psk' }).find('m')).toBe('secret')
})

test('a line that is none is named, its secret is not, and the old keys stay', () => {
  const { dir, update, find } = keysOf('meter-7:secret')
  writeFileSync(join(dir, 'keys.psk'), 'meter-7:other\nonly-a-secret\n')
  expect(() => update()).toThrow(/psk_authentication\.init_file: .*keys\.psk: line 2 is not identity:secret$/)
  expect(() => update({ init_file: 'gone.psk' })).toThrow(/cannot read .*gone\.psk/)
  expect(find('meter-7')).toBe('secret')
})

test('who is no longer in the file is no longer known, and nobody is when it is switched off', () => {
  const { dir, update, find } = keysOf('meter-7:secret')
  writeFileSync(join(dir, 'keys.psk'), 'meter-8:secret')
  update()
  expect([find('meter-7'), find('meter-8')]).toEqual([undefined, 'secret'])
  update({ enable: false })
  expect(find('meter-8')).toBeUndefined()
})

test('without it there is no look-up, so listeners ask for certificates', () => {
  const off = keysOf('meter-7:secret', { enable: false })
  expect(off.file.lookup).toBeUndefined()
  expect(() =>
    createDatagramListener(dtlsOptions(), () => {}, silentLogger, { pskLookup: off.file.lookup }),
  ).toThrow(/certfile and keyfile are needed/)
})

test('a listener takes its keys from the file', async (t) => {
  const { dir, file, update } = keysOf('meter-7:secret')
  const { port } = await listenDatagrams(t, dtlsOptions(), new Echo().serve, { pskLookup: file.lookup })
  const client = await DtlsProbe.open(t, port, DtlsProbe.psk('meter-7', 'secret'))
  await client.opened
  expect(await client.ask('hello')).toBe('hello')
  writeFileSync(join(dir, 'keys.psk'), 'meter-8:other')
  update()
  const gone = await DtlsProbe.open(t, port, DtlsProbe.psk('meter-7', 'secret'))
  expect(await gone.ended).toMatch(/alert/)
  expect(await client.ask('still here')).toBe('still here')
})
