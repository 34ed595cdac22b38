'use strict'
module.exports = require('./binary.cjs').load()
