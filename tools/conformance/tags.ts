/**
 * Tags in comments and test names: `[MQTT-3.1.2-24]` for a statement of MQTT 5.0, `[MQTT-3.1.3-8 (3.1.1)]` for
 * one of 3.1.1. Several stand one after the other; there is no way to write a range.
 */
export interface Tag {
  readonly id: string
  /** From 1. */
  readonly line: number
}

/** Something that was meant as a tag and is none. */
export interface Misspelt {
  readonly text: string
  readonly line: number
  readonly hint: string
}

const TAG = /\[(MQTT-\d+\.\d+\.\d+-\d+(?: \(3\.1\.1\))?)\]/g

const WRITTEN = 'a tag is written [MQTT-1.2.3-4]'

/** What people write instead, and what to say about it. The first that fits counts. */
const MISTAKES: readonly (readonly [form: RegExp, hint: string])[] = [
  [/\](?: to | through |\s*(?:-|–|—|…|\.{2,3})\s*)\[MQTT-[^\]]*\]/g, 'a range is not understood: tag each'],
  [/\b3\.1\.1:? \[MQTT-[^\]() ]*\]/g, 'a statement of 3.1.1 is written [MQTT-1.2.3-4 (3.1.1)]'],
  [/\[MQTT(?:-(?=\d)(?!\d+\.\d+\.\d+-\d+(?: \(3\.1\.1\))?\])|[ _](?=\d+\.\d+\.\d))[^\]\n]*\]?/g, WRITTEN],
  [/(?<!\[)\bMQTT-\d+\.\d+[\d.-]*/g, 'a tag stands in brackets'],
]

export function tagsIn(text: string): Tag[] {
  return text
    .split('\n')
    .flatMap((line, i) => [...line.matchAll(TAG)].map(([, id = '']) => ({ id, line: i + 1 })))
}

export function misspeltIn(text: string): Misspelt[] {
  return text
    .split('\n')
    .flatMap((line, i) =>
      MISTAKES.flatMap(([form, hint]) =>
        [...line.matchAll(form)].map(([found]) => ({ text: found, line: i + 1, hint })),
      ),
    )
}
