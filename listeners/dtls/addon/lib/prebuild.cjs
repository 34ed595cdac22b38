'use strict'
// `npm run build && npm run prebuild`: takes what was built here into the package.
const { execFileSync } = require('node:child_process')
const { copyFileSync, mkdirSync } = require('node:fs')
const { dirname } = require('node:path')
const { BUILT, PREBUILT } = require('./binary.cjs')

mkdirSync(dirname(PREBUILT), { recursive: true })
copyFileSync(BUILT, PREBUILT)
execFileSync('strip', ['--strip-all', PREBUILT], { stdio: 'inherit' })
