'use strict'
// Run by npm: builds the addon where the binary that came with the package does not fit. Never fails: a
// broker without the addon does everything but DTLS, and its DTLS listeners say why.
const { spawnSync } = require('node:child_process')
const { ROOT, load } = require('./binary.cjs')

function loads() {
  try {
    load()
    return true
  } catch {
    return false
  }
}

function build() {
  const gyp = process.env.npm_config_node_gyp
  const [command, args] = gyp === undefined ? ['node-gyp', []] : [process.execPath, [gyp]]
  const { status } = spawnSync(command, [...args, 'rebuild'], { cwd: ROOT, stdio: 'inherit' })
  return status === 0
}

if (!loads() && !(build() && loads())) {
  console.warn('hubbub-dtls: no binary for this platform and none could be built: no DTLS listeners here')
}
