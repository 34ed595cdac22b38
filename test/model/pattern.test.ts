import { expect, test } from 'vitest'
import { Pattern } from '../../model/pattern.ts'

test.each([
  ['^y/(.+)/z/(.+)$', 'y/a/b/z/c', ['y/a/b/z/c', 'a/b', 'c']],
  ['b+', 'aabbb', ['bbb']],
  ['^(\\w+)(?:/(\\w+))?$', 'a', ['a', 'a', '']],
  ['(?i)^ABC$', 'aBc', ['aBc']],
  ['^x$', 'y', undefined],
])('%s on %s', (source, text, groups) => {
  const pattern = new Pattern(source)
  expect(pattern.match(text)).toEqual(groups)
  expect(pattern.test(text)).toBe(groups !== undefined)
})

test('what RE2 does not know, and what is no expression, is refused in words', () => {
  for (const source of ['(', '(?=a)', '(a)\\1', '[z-a]']) {
    expect(() => new Pattern(source)).toThrow(expect.objectContaining({ code: 'CONFIG_INVALID' }))
  }
  expect(() => new Pattern('(')).toThrow('not a regular expression (RE2 syntax): missing closing )')
})

test('an expression that runs away elsewhere takes no time on a long text', () => {
  const startMs = performance.now()
  for (const source of ['^(a+)+$', '.*bot$', '^(.+)/(.+)/(.+)x$'])
    new Pattern(source).test('a/'.repeat(10_000))
  expect(performance.now() - startMs).toBeLessThan(2000)
})
