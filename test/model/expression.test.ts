/** Expressions of operators: what they mean, what is refused, and that none can run away. */
import { describe, expect, test } from 'vitest'
import { Expression, type Value } from '../../model/expression.ts'
import { FUNCTIONS } from '../../model/expression-functions.ts'
import { Random } from '../support/random.ts'

const CLIENT: ReadonlyMap<string, Value> = new Map<string, Value>([
  ['clientid', 'berlin-meter-7'],
  ['username', 'Walter'],
  ['user_property.site', 'north'],
  ['empty', ''],
  ['umlauts', 'äöü🙂x'],
])

const render = (source: string) => new Expression(source).render((name) => CLIENT.get(name))

describe('what they give', () => {
  test.each([
    ['clientid', 'berlin-meter-7'],
    ['user_property.site', 'north'],
    ['nobody.knows', ''],
    ["'a text'", 'a text'],
    ['"it\'s"', "it's"],
    ['-1.50', '-1.5'],
    ['true', 'true'],
    ["[1, 'b', clientid]", '1, b, berlin-meter-7'],
    ["nth(1, tokens(clientid, '-'))", 'berlin'],
    [" nth( 3 , tokens( clientid,'-' ) ) ", '7'],
    ["nth(9, tokens(clientid, '-'))", ''],
    ["concat(username, '/', clientid)", 'Walter/berlin-meter-7'],
    ["concat([username, '/', 1])", 'Walter/1'],
    ['coalesce(empty, nobody, username)', 'Walter'],
    ['coalesce([empty, username])', 'Walter'],
    ["coalesce(json_value(clientid, 'x'), 'fallback')", 'fallback'],
    ["iif(str_eq(username, 'Walter'), 'yes', 'no')", 'yes'],
    ["iif(empty, 'yes', 'no')", 'no'],
    ["iif(true, 'yes', nth('fails', clientid))", 'yes'],
    ['not(is_empty_val(empty))', 'false'],
  ])('%s is %s', (source, value) => {
    expect(render(source)).toBe(value)
  })

  test.each([
    ["lower('AbÄ')", 'abä'],
    ["upper('abä')", 'ABÄ'],
    ["trim('  x ')", 'x'],
    ["trim('--x-', '-')", 'x'],
    ["ltrim('xxax', 'x')", 'ax'],
    ["rtrim('xaxx', 'x')", 'xa'],
    ['reverse(umlauts)', 'x🙂üöä'],
    ['strlen(umlauts)', '5'],
    ['substr(umlauts, 3)', '🙂x'],
    ['substr(umlauts, 1, 2)', 'öü'],
    ["join_to_string('-', ['a', 'b'])", 'a-b'],
    ["join_to_string(['a', 'b'])", 'a, b'],
    ["split('a,,b', ',')", 'a, b'],
    ["strlen(join_to_string('', split('a,,b', ',', 'notrim')))", '2'],
    ["split('a-b-c', '-', 'leading')", 'a, b-c'],
    ["split('a-b-c', '-', 'trailing')", 'a-b, c'],
    ["tokens('a b,c', ' ,')", 'a, b, c'],
    ["replace('a.b.c', '.', '/')", 'a/b/c'],
    ["replace('a.b.c', '.', '$&', 'trailing')", 'a.b$&c'],
    ["find('key=value', '=')", '=value'],
    ["pad('7', 3, 'leading', '0')", '007'],
    ["pad('7', 4)", '7   '],
    ["pad('7', 4, 'both', '-')", '-7--'],
    ["rm_prefix('dev-7', 'dev-')", '7'],
    ["ascii('a')", '97'],
    ["sprintf_s('~s:~p~~', 'a', 1)", 'a:1~'],
    ["unescape('a\\tb\\x41\\\\')", 'a\tbA\\'],
    ["regex_match(clientid, '^berlin-')", 'true'],
    ["nth(1, regex_extract(clientid, '-([0-9]+)$'))", '7'],
    ["regex_extract(clientid, 'x(y)')", ''],
    ["regex_replace('ab1cd3', '[0-9]', '*')", 'ab*cd*'],
    ["regex_replace('ab', '', '-')", '-a-b-'],
    ["topic_join(['a', 'b'])", 'a/b'],
    ["nth(2, topic_split('a/b'))", 'b'],
    ["topic_match('a/b', 'a/+')", 'true'],
    ["hash('md5', 'a')", '0cc175b9c0f1b6a831c399e269772661'],
    ['map_to_range(10, 3)', '2'],
    ["map_to_range('a', 0, 9)", '7'],
    ["bin2hexstr('az')", '617A'],
    ["hexstr2bin('617A')", 'az'],
    ['int2hexstr(255)', 'FF'],
    ["base64_encode('ab')", 'YWI='],
    ["base64_decode('YWI=')", 'ab'],
    [`json_value('{"a":{"b":[7]}}', 'a.b.0')`, '7'],
    [`json_value('{"a":{}}', '__proto__.x')`, ''],
    ["jwt_value('e30.eyJzdWIiOiJ3In0.x', 'sub')", 'w'],
    ["str_comp('a', 'b')", 'lt'],
    ["str_gte('b', 'a')", 'true'],
    ['num_lt(2, 10)', 'true'],
    ["num_comp('10', 9.5)", 'gt'],
    ["num_neq(1, '1.0')", 'false'],
  ])('%s is %s', (source, value) => {
    expect(render(source)).toBe(value)
  })

  test('random and time are what they say', () => {
    expect(render('rand_str(16)')).toMatch(/^[\w+/]{16}$/)
    expect(Number(render('rand_int(3)'))).toBeGreaterThanOrEqual(1)
    expect(Number(render('rand_int(3)'))).toBeLessThanOrEqual(3)
    expect(Number(render('timestamp_ms()')) / Number(render('timestamp_s()'))).toBeCloseTo(1000, 0)
    const spread = Number(render('hash_to_range(clientid, 1, 4)'))
    expect([1, 2, 3, 4]).toContain(spread)
    expect(Number(render('hash_to_range(clientid, 1, 4)'))).toBe(spread)
  })

  test('of the environment only what was named for it is seen', () => {
    process.env.EMQXVAR_SITE = 'north'
    try {
      expect(render("getenv('SITE')")).toBe('north')
      expect(render("getenv('PATH')")).toBe('')
    } finally {
      delete process.env.EMQXVAR_SITE
    }
  })
})

describe('what is refused when the config is read', () => {
  test.each([
    ['', 'expected a text, a number, a variable or a function at character 1'],
    ['lower(', 'at character 7'],
    ['lower(a', 'expected , or ) at character 8'],
    ['lower(a))', 'expected nothing more at character 9'],
    ["'open", 'at character 1'],
    ['a b', 'expected nothing more at character 3'],
    ['nosuch(a)', 'there is no nosuch at character 1'],
    ['constructor(a)', 'there is no constructor'],
    ['lower()', 'expected 1 arguments of lower, not 0'],
    ['trim(a, b, c)', 'expected 1 to 2 arguments of trim, not 3'],
    ['regex_match(a, clientid)', 'a text in quotes as the pattern of regex_match'],
    ["regex_match(a, '(')", 'not a regular expression'],
    ['iif(a)', 'expected 3 arguments of iif'],
    [`${'not('.repeat(40)}a${')'.repeat(40)}`, 'at most 32 levels of brackets'],
    [`'${'x'.repeat(9000)}'`, 'at most 8192 characters'],
  ])('%s', (source, problem) => {
    expect(() => new Expression(source)).toThrow(problem)
  })
})

describe('what fails for one client', () => {
  test.each([
    ["nth('x', tokens(clientid, '-'))", 'nth: "x" is not a number'],
    ['nth(1, clientid)', 'is not a list'],
    ["hexstr2bin('zz')", 'hexstr2bin: not encoded so'],
    ["hexstr2bin('ff')", 'hexstr2bin'],
    ["hash('rot13', clientid)", 'no algorithm rot13'],
    ['pad(clientid, 1000000)', 'pad: the text is too long'],
    ['rand_str(100000)', 'rand_str: 0 to 1024 characters'],
    ["split(clientid, '')", 'nothing to split by'],
    ["unescape('\\xd800')", 'is no escape'],
    ["topic_split(pad('', 2000, 'leading', '/'))", 'the list is too long'],
    ["regex_replace(pad('', 60000), ' ', '0123456789')", 'the text is too long'],
    ["replace(pad('', 60000), ' ', pad('', 60000))", 'the text is too long'],
  ])('%s', (source, problem) => {
    expect(() => render(source)).toThrow(problem)
  })
})

test('whatever is put together renders to a well-formed text or fails, and in no time', () => {
  const random = new Random(7)
  const names = [...FUNCTIONS.keys(), 'coalesce', 'iif']
  const leaves = [
    "''",
    "'a-b/c'",
    "'🙂'",
    '-1',
    '3',
    '100000',
    'true',
    'clientid',
    'umlauts',
    'nobody',
    '[]',
    "['a', umlauts]",
  ]
  const make = (depth: number): string => {
    if (depth === 0 || random.int(3) === 0) return random.pick(leaves)
    const args = Array.from({ length: random.int(4) }, () => make(depth - 1))
    return `${random.pick(names)}(${args.join(', ')})`
  }
  let rendered = 0
  const started = performance.now()
  for (let i = 0; i < 20_000; i++) {
    const source = make(4)
    let expression: Expression
    try {
      expression = new Expression(source)
    } catch (error) {
      expect(error, source).toMatchObject({ code: 'CONFIG_INVALID' })
      continue
    }
    try {
      const text = expression.render((name) => CLIENT.get(name))
      expect(/\p{Cs}/u.test(text), source).toBe(false)
      rendered++
    } catch (error) {
      expect(error, source).toBeInstanceOf(Error)
    }
  }
  expect(rendered).toBeGreaterThan(1000)
  expect(performance.now() - started).toBeLessThan(20_000)
})

test('any text at all is read or refused', () => {
  const random = new Random(8)
  const pieces = ['(', ')', '[', ']', ',', "'", '"', ' ', '.', '-', '1', 'a', 'nth', 'é', '\n', '\0', 'true']
  for (let i = 0; i < 5000; i++) {
    const source = Array.from({ length: random.int(12) }, () => random.pick(pieces)).join('')
    try {
      new Expression(source)
    } catch (error) {
      expect(error, source).toMatchObject({ code: 'CONFIG_INVALID' })
    }
  }
})
