/**
 * SASLprep (RFC 4013): names and passwords that look the same are the same, however they were typed.
 * Left out are the rules for text that runs from right to left (§2.3 of it) and the list of code points that
 * Unicode 3.2 did not know: both would only refuse what is harmless here.
 */

/** RFC 3454 C.1.2 */
const SPACES = /[\u00A0\u1680\u2000-\u200B\u202F\u205F\u3000]/g
/** RFC 3454 B.1, with variation selectors and joiners written as escapes. */
const NOTHING = /\u00AD|\u034F|\u1806|[\u180B-\u180D]|\u200C|\u200D|\u2060|[\uFE00-\uFE0F]|\uFEFF/g
/** RFC 3454 C.2 to C.9: control and private characters, halves of characters, what is no text. */
const PROHIBITED =
  /\u0340|\u0341|[\p{Cc}\p{Co}\p{Cs}\u06DD\u070F\u180E\u200E\u200F\u2028-\u202E\u2061-\u2063\u206A-\u206F\u2FF0-\u2FFB\uFFF9-\uFFFD\p{Noncharacter_Code_Point}\u{1D173}-\u{1D17A}\u{E0001}\u{E0020}-\u{E007F}]/u

/** @returns undefined for a text that must not be used, an empty one included */
export function saslPrep(text: string): string | undefined {
  const prepared = text.replaceAll(SPACES, ' ').replaceAll(NOTHING, '').normalize('NFKC')
  return prepared === '' || PROHIBITED.test(prepared) ? undefined : prepared
}
