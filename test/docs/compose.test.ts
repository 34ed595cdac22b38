/** The containers, as far as they can be read without starting any. */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { parse } from 'yaml'
import { loadConfig } from '../../config/load.ts'
import { configSchema } from '../../config/schema.ts'

const ROOT = join(import.meta.dirname, '..', '..')
const read = (file: string) => readFileSync(join(ROOT, file), 'utf8')

interface Service {
  image?: string
  build?: string | { context: string; target?: string }
  environment?: Record<string, string>
  ports?: string[]
  healthcheck?: { test: string[] }
  profiles?: string[]
  volumes?: string[]
  depends_on?: Record<string, { condition: string }>
}

const { services, volumes } = parse(read('docker-compose.yml')) as {
  services: Record<string, Service>
  volumes: object
}
const dockerfile = read('Dockerfile')

test('every server says when it is healthy, and is open to this machine only', () => {
  const { tests, ...servers } = services
  expect(tests?.ports).toBeUndefined()
  for (const [name, { image, ports, healthcheck }] of Object.entries(servers)) {
    expect(image, name).toMatch(name === 'broker' ? /^hubbub$/ : /:[\d.]+$/)
    expect(healthcheck?.test[0], name).toMatch(/^CMD(-SHELL)?$/)
    expect(ports?.length, name).toBeGreaterThan(0)
    for (const port of ports ?? []) expect(port, name).toMatch(/^127\.0\.0\.1:\d+:\d+$/)
  }
})

test('what a service refers to is there', () => {
  for (const [name, service] of Object.entries(services)) {
    for (const [other, { condition }] of Object.entries(service.depends_on ?? {})) {
      expect(services[other]?.healthcheck, `${name} waits for ${other}`).toBeDefined()
      expect(condition).toBe('service_healthy')
      expect(services[other]?.profiles).toEqual(expect.arrayContaining(service.profiles ?? []))
    }
    for (const volume of service.volumes ?? []) expect(Object.keys(volumes)).toContain(volume.split(':')[0])
    const target = typeof service.build === 'object' ? service.build.target : undefined
    if (target !== undefined) expect(dockerfile).toMatch(new RegExp(`^FROM .* AS ${target}$`, 'm'))
  }
})

test('the tests log in to MongoDB with the password it is started with', () => {
  const url = new URL(services.tests?.environment?.MONGODB_TEST_URL ?? '')
  expect(url.hostname).toBe('mongodb')
  expect(services.mongodb?.environment).toMatchObject({
    MONGO_INITDB_ROOT_USERNAME: url.username,
    MONGO_INITDB_ROOT_PASSWORD: url.password,
  })
})

test('the environment of the broker is a configuration', () => {
  const env = services.broker?.environment ?? {}
  expect(loadConfig({ schema: configSchema(), file: undefined, env }).config.allow_anonymous).toBe(true)
})

test('the image is made of files that are there, and of those that a build makes', () => {
  const copied = [...dockerfile.matchAll(/^COPY (?!--from)(.*) \S+$/gm)].flatMap(([, from = '']) =>
    from.split(' '),
  )
  expect(copied.length).toBeGreaterThan(2)
  expect(copied.filter((file) => !existsSync(join(ROOT, file)))).toEqual([])
  const { scripts, bin } = JSON.parse(read('package.json')) as {
    scripts: Record<string, string>
    bin: Record<string, string>
  }
  expect(dockerfile).toContain(`ENTRYPOINT ["node", "${bin.hubbub}"]`)
  expect(scripts.build).toBeDefined()
})
