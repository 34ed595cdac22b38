/**
 * Completes package-lock.json: adds the optional packages of other platforms that npm left out because
 * the registry it was made with does not serve them. `npm ci` refuses a lock file without them.
 * Run it after every change of dependencies: `npm run lock`.
 */
import { readFileSync, writeFileSync } from 'node:fs'

const PLATFORMS = [
  'aix',
  'android',
  'darwin',
  'freebsd',
  'linux',
  'netbsd',
  'openbsd',
  'openharmony',
  'sunos',
  'win32',
]
const PROCESSORS = /(arm64|x64|ia32|arm|loong64|ppc64|riscv64|s390x|wasm32)/

const file = new URL('../package-lock.json', import.meta.url)
const lock = JSON.parse(readFileSync(file, 'utf8'))
const missing = Object.entries(lock.packages).flatMap(([path, entry]) =>
  Object.entries(entry.optionalDependencies ?? {})
    .filter(
      ([name]) =>
        path !== '' &&
        !lock.packages[`node_modules/${name}`] &&
        !lock.packages[`${path}/node_modules/${name}`],
    )
    .map(([name, version]) => [`node_modules/${name}`, platformEntry(name, version, entry)]),
)
Object.assign(lock.packages, Object.fromEntries(missing))
lock.packages = Object.fromEntries(Object.entries(lock.packages).sort(([a], [b]) => (a < b ? -1 : 1)))
writeFileSync(file, `${JSON.stringify(lock, null, 2)}\n`)
console.log(`package-lock.json: ${missing.length} optional packages added`)

/** What npm would write of a package that is named after the platform it is for. */
function platformEntry(name, version, parent) {
  const os = PLATFORMS.find((platform) => name.includes(platform))
  const cpu = PROCESSORS.exec(name)?.[1]
  if (os === undefined && cpu !== 'wasm32')
    throw new Error(`${name} is named after no platform: add it by hand`)
  return {
    version,
    cpu: [cpu],
    ...(parent.dev ? { dev: true } : {}),
    ...(os === 'linux' ? { libc: [name.includes('musl') ? 'musl' : 'glibc'] } : {}),
    optional: true,
    ...(os === undefined ? {} : { os: [os] }),
  }
}
