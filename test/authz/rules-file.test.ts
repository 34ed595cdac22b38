import { expect, test } from 'vitest'
import { rulesFromCsv, rulesFromJson } from '../../authz/rules-file.ts'

const rule = (permission: string, topic: string, more: object = {}) => ({
  permission,
  action: 'all',
  topic,
  qos: [0, 1, 2],
  retain: 'all',
  ...more,
})

const ANN = { kind: 'username', id: 'ann' }
const C1 = { kind: 'clientid', id: 'c1' }

test('JSON of EMQX’s API: what is posted, and what it gives', () => {
  const list = [
    { username: 'ann', rules: [{ permission: 'deny', action: 'all', topic: 'a', qos: '0,1', retain: true }] },
    { clientid: 'c1', rules: [{ permission: 'allow', action: 'all', topic: 'b' }] },
    { rules: [{ permission: 'allow', action: 'all', topic: 'c' }] },
  ]
  const expected = [
    { subject: ANN, rules: [rule('deny', 'a', { qos: [0, 1], retain: true })] },
    { subject: C1, rules: [rule('allow', 'b')] },
    { subject: { kind: 'all' }, rules: [rule('allow', 'c')] },
  ]
  expect(rulesFromJson(JSON.stringify(list))).toEqual(expected)
  expect(rulesFromJson(`\uFEFF${JSON.stringify({ data: list, meta: { count: 3 } })}`)).toEqual(expected)
  expect(rulesFromJson(JSON.stringify(list[2]))).toEqual(expected.slice(2))
})

test('CSV with the columns of mqtt_acl', () => {
  const csv = [
    'id,ipaddress,username,clientid,action,permission,topic,qos,retain',
    '1,,ann,,all,deny,a,"0,1",1',
    '2,10.0.0.0/8,ann,,all,allow,b/#,NULL,NULL',
    '3,,,c1,all,allow,b,,0',
    '4,,,,all,allow,"eq c,#",,',
    '5,,ann,,all,allow,c,2,all',
  ].join('\n')
  expect(rulesFromCsv(csv)).toEqual([
    {
      subject: ANN,
      rules: [
        rule('deny', 'a', { qos: [0, 1], retain: true }),
        rule('allow', 'b/#', { ipaddr: '10.0.0.0/8' }),
        rule('allow', 'c', { qos: [2] }),
      ],
    },
    { subject: C1, rules: [rule('allow', 'b', { retain: false })] },
    { subject: { kind: 'all' }, rules: [rule('allow', 'eq c,#')] },
  ])
})

test.each([
  ['{', /not JSON/],
  ['7', /list/],
  ['[7]', /entry 1: expected an object/],
  ['[{"username":"a"}]', /entry 1: rules must be a list/],
  ['[{"username":"a","rules":[{"permission":"yes"}]}]', /entry 1: rule 1: action/],
  ['[{"username":"a","clientid":"b","rules":[]}]', /entry 1.*both/],
  ['[{"username":"","rules":[]}]', /entry 1.*must not be empty/],
  ['[{"clientid":"","rules":[]}]', /entry 1.*must not be empty/],
  ['[{"username":7,"rules":[]}]', /entry 1.*text/],
  ['[{"user":"a","rules":[]}]', /entry 1: unexpected "user"/],
  ['[{"rules":[]},{"rules":[]}]', /entry 2.*already/],
])('JSON: %s is refused with its place', (text, why) => {
  expect(() => rulesFromJson(text)).toThrow(why)
})

test.each([
  ['', /header has no permission/],
  ['permission,action\n', /header has no topic/],
  ['permission,action,topic\nallow,all\n', /line 2: expected 3 fields/],
  ['permission,action,topic\nallow,read,a\n', /line 2: action/],
  ['permission,action,topic,colour\nallow,all,a,red\n', /line 2: unexpected "colour"/],
  ['permission,action,topic,username,clientid\nallow,all,a,x,y\n', /line 2.*both/],
])('CSV: %j is refused with its place', (text, why) => {
  expect(() => rulesFromCsv(text)).toThrow(why)
})
