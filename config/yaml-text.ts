import { type Document, LineCounter, parseDocument, type YAMLError } from 'yaml'

/** YAML as options are written in: in files and in environment variables. */
export interface YamlText {
  value: unknown
  /** For the places of values. */
  document: Document
  lines: LineCounter
  /** What is wrong with it, in words that quote nothing: what stands there may be a secret. */
  faults: { offset: number; message: string }[]
}

export function readYaml(text: string): YamlText {
  const lines = new LineCounter()
  // prettyErrors would quote the source.
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, uniqueKeys: true })
  const faults = tellingFaults([...document.errors, ...document.warnings]).map((fault) => ({
    offset: fault.pos[0],
    message: describe(fault, text),
  }))
  if (faults.length > 0) return { value: undefined, document, lines, faults }
  try {
    return { value: document.toJS({ maxAliasCount: 100 }), document, lines, faults }
  } catch {
    const message = 'not YAML: a value that begins with * is an alias, and what it stands for is not here'
    return { value: undefined, document, lines, faults: [{ offset: 0, message }] }
  }
}

/** After the first broken line the parser only guesses; keys that stand twice are no such break. */
function tellingFaults(faults: YAMLError[]): YAMLError[] {
  const first = faults.find(({ code }) => code !== 'DUPLICATE_KEY')
  return faults.filter((fault) => fault === first || fault.code === 'DUPLICATE_KEY')
}

function describe(fault: YAMLError, text: string): string {
  switch (fault.code) {
    case 'DUPLICATE_KEY':
      return `the key ${/^[^\s:]{1,60}/.exec(text.slice(fault.pos[0]))?.[0] ?? ''} stands twice in the same section`
    case 'TAB_AS_INDENT':
      return 'not YAML: lines are indented with spaces, not with tabs'
    case 'BAD_INDENT':
      return fault.message.startsWith('Flow')
        ? 'not YAML: a bracket or brace that was opened before is not closed'
        : 'not YAML: the options of a section must be indented alike'
    case 'BLOCK_AS_IMPLICIT_KEY':
      return 'not YAML: an option stands on a line of its own, and text with a colon in quotes'
    case 'MISSING_CHAR':
      return 'not YAML: a quote, bracket, comma or colon is missing'
    case 'MULTIPLE_DOCS':
      return 'not YAML that can be used: --- begins a second document'
    default:
      return 'not YAML: text with special characters must be in quotes'
  }
}
