/** What makes the load: the compiled generator where it can, the one in Node for all else. */
import { canMake, compile } from '../load/compiled.mjs'
import { temporaryDirectory } from '../support/temporary.mjs'

/**
 * @param wanted - `compiled`, `node`, or undefined for what there is
 * @returns the program of the compiled one, undefined without
 * @throws Error if `compiled` is wanted and cannot be had
 */
export function findGenerator(wanted) {
  if (wanted === 'node') return undefined
  try {
    return compile(temporaryDirectory())
  } catch (error) {
    if (wanted === 'compiled') throw new Error(`no compiled generator: ${error.message}`)
    console.log(`all load comes from Node, as there is no compiled generator: ${error.message}`)
    return undefined
  }
}

/** Which of them makes the load of this scenario. */
export function generatorOf(program, spec) {
  return program !== undefined && canMake(spec) ? 'compiled' : 'node'
}
