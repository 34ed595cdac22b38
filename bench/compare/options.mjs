/** The command line of the comparison. */
import { parseArgs } from 'node:util'

const HELP = `Hubbub beside other brokers: npm run bench -- [options]

  --scenario ID[,ID]        only these; the beginning of an id is enough (pair, pair-qos0, trie)
  --rounds N                rounds of each broker, in turn with the others (3)
  --seconds S               length of a round, after a second to warm up (3); "nobody" and "slow" take 60
  --inflight N              how many messages above QoS 0 may be on their way to a subscriber, or from a publisher, for
                            Hubbub and Mosquitto alike (65535, which is as many as there are packet ids)
  --generator NAME          what makes the load of MQTT over plain TCP: compiled (where there is a C compiler: cc, or $CC), or
                            node, which makes all else
  --brokers NAME[,NAME]     only these of what is found: Hubbub, Mosquitto, Aedes, nats-server
  --broker NAME=COMMAND     one more; {port} in the command is the port it is to listen on
  --connect NAME=HOST:PORT[:PID]
                            one that runs already; with its process id for CPU and memory
  --json FILE               where the figures are written, with a chart of each scenario beside them
                            (bench/results/figures.json)
  --summary                 also draw summary.svg, all of them in one chart
  --list                    names of the scenarios
  --help

Brokers are started on free ports of 127.0.0.1 with storage in memory. CPU is that of the broker's process, all threads,
and comes from /proc, or elsewhere from the broker itself if it runs in Node. All scenarios take about half an hour. Exits with
1 if a target is missed.`

const GENERATORS = ['compiled', 'node']

/** @throws TypeError for an unknown option, Error for a wrong value */
export function readOptions(args) {
  const text = (value) => ({ type: 'string', default: value })
  const { values } = parseArgs({
    args,
    options: {
      scenario: text(''),
      rounds: text('3'),
      seconds: text('3'),
      inflight: text('65535'),
      generator: { type: 'string' },
      brokers: text(''),
      broker: { type: 'string', multiple: true, default: [] },
      connect: { type: 'string', multiple: true, default: [] },
      json: { type: 'string' },
      summary: { type: 'boolean', default: false },
      list: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  })
  if (![undefined, ...GENERATORS].includes(values.generator))
    throw new Error(`--generator must be one of ${GENERATORS.join(', ')}`)
  return {
    ...values,
    helpText: HELP,
    scenarios: list(values.scenario),
    rounds: positive('rounds', values.rounds),
    seconds: positive('seconds', values.seconds),
    inflight: positive('inflight', values.inflight),
    brokers: list(values.brokers),
    commands: values.broker.map(named),
    connections: values.connect.map(named),
  }
}

function list(value) {
  return value.split(',').filter((part) => part !== '')
}

function positive(name, value) {
  const number = Number(value)
  if (!(number > 0)) throw new Error(`--${name} must be a number above 0`)
  return number
}

function named(value) {
  const at = value.indexOf('=')
  if (at < 1) throw new Error(`"${value}" must be NAME=VALUE`)
  return { name: value.slice(0, at), value: value.slice(at + 1) }
}
