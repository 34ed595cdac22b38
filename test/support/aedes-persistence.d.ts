/** Aedes' test suite for persistences, which has no types. */
declare module 'aedes-persistence/abstract.js' {
  export default function abstractSuite(options: object): void
}
