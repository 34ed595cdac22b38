/** Aedes as its manual sets it up: `aedes-server.mjs <JSON of brokers.mjs>`. */
import { readFileSync } from 'node:fs'
import { createServer as createHttpServer } from 'node:http'
import { createServer } from 'node:net'
import { createServer as createTlsServer } from 'node:tls'
import { Aedes } from 'aedes'
import { createWebSocketStream, WebSocketServer } from 'ws'
import { answerFigures } from './figures-server.mjs'

const { ports, cert, access, watchesDelays } = JSON.parse(process.argv[2])
const aedes = await Aedes.createBroker()
if (access === 'rules') {
  const isOurs = (topic) => topic.startsWith('bench/')
  aedes.authorizePublish = (_client, { topic }, done) => done(isOurs(topic) ? null : new Error('denied'))
  aedes.authorizeSubscribe = (_client, wanted, done) => done(null, isOurs(wanted.topic) ? wanted : null)
}

const listen = (server, port) => new Promise((resolve) => server.listen(port, '127.0.0.1', resolve))
await listen(createServer(aedes.handle), ports.tcp)
if (cert !== undefined) {
  const options = { cert: readFileSync(cert.cert), key: readFileSync(cert.key) }
  await listen(createTlsServer(options, aedes.handle), ports.tls)
}
const http = createHttpServer()
new WebSocketServer({ server: http }).on('connection', (ws, request) => {
  aedes.handle(createWebSocketStream(ws), request)
})
await listen(http, ports.ws)
answerFigures(watchesDelays)
