import { readFileSync } from 'node:fs'
import { isMap, isPair, isScalar, isSeq, type Node } from 'yaml'
import { messageOf } from '../model/errors.ts'
import { isSection, type Path } from './path.ts'
import type { Origin, Position, Problem } from './problem.ts'
import { readYaml } from './yaml-text.ts'

/** A parsed YAML file: its values, where each of them stands, and what is wrong with its syntax. */
export interface YamlFile {
  tree: Record<string, unknown>
  originOf: (path: Path) => Origin
  problems: Problem[]
}

/** Reads a file; an empty one has no values. Reading problems are values too: they are reported with all others. */
export function readYamlFile(file: string): YamlFile {
  try {
    return parseYaml(readFileSync(file, 'utf8'), file)
  } catch (error) {
    const noSuchFile = error instanceof Error && 'code' in error && error.code === 'ENOENT'
    const reason = noSuchFile ? 'there is no such file' : messageOf(error)
    return broken(file, [{ where: file, file, path: '', message: `cannot read the config file: ${reason}` }])
  }
}

function parseYaml(text: string, file: string): YamlFile {
  const yaml = readYaml(text)
  const at = (offset: number): Position => {
    const { line, col } = yaml.lines.linePos(offset)
    return { line, column: col }
  }
  const problems = yaml.faults.map(({ offset, message }) => problemIn(file, at(offset), message))
  if (problems.length > 0) return broken(file, problems)
  const tree = yaml.value ?? {}
  if (isSection(tree)) {
    return { tree, originOf: (path) => locate(yaml.document.contents, path, file, at), problems }
  }
  return broken(file, [problemIn(file, at(0), 'expected options such as "node:", found something else')])
}

function problemIn(file: string, { line, column }: Position, message: string): Problem {
  return { where: `${file}:${line}:${column}`, file, line, column, path: '', message }
}

function broken(file: string, problems: Problem[]): YamlFile {
  const nowhere = { line: 1, column: 1 }
  return { tree: {}, originOf: () => ({ layer: 'file', file, key: nowhere, value: nowhere }), problems }
}

/** Walks down the nodes; where an alias hides the rest, the alias itself is the place. */
function locate(root: Node | null, path: Path, file: string, at: (offset: number) => Position): Origin {
  let node: unknown = root
  let key = at(0)
  let value = at(root?.range?.[0] ?? 0)
  for (const step of path) {
    const child = childNode(node, step)
    if (child === undefined) break
    key = at(child.key?.range?.[0] ?? child.value?.range?.[0] ?? 0)
    value = child.value?.range ? at(child.value.range[0]) : key
    node = child.value
  }
  return { layer: 'file', file, key, value }
}

function childNode(
  node: unknown,
  step: string | number,
): { key?: Node; value: Node | undefined } | undefined {
  if (isSeq(node) && typeof step === 'number') return { value: node.items[step] as Node | undefined }
  if (!isMap(node)) return undefined
  for (const pair of node.items) {
    if (isPair(pair) && isScalar(pair.key) && String(pair.key.value) === step) {
      return { key: pair.key, value: (pair.value ?? undefined) as Node | undefined }
    }
  }
  return undefined
}
