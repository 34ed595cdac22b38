'use strict'
// Where the binary is, and whether it can be loaded. One that was built here is only there because
// somebody wanted it, so it goes before the one that came with the package.
const { join } = require('node:path')

const ROOT = join(__dirname, '..')
const BUILT = join(ROOT, 'build', 'Release', 'dtls.node')
const PREBUILT = join(ROOT, 'prebuilds', `${process.platform}-${process.arch}`, 'dtls.node')

/** The addon. Throws one error that says why no binary could be loaded. */
function load() {
  const reasons = []
  for (const path of [BUILT, PREBUILT]) {
    try {
      return require(path)
    } catch (error) {
      reasons.push(error.code === 'MODULE_NOT_FOUND' ? `there is no ${path}` : error.message)
    }
  }
  throw new Error(`DTLS is not available for ${process.platform}-${process.arch}: ${reasons.join('; ')}`)
}

module.exports = { ROOT, BUILT, PREBUILT, load }
