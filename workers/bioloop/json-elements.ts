/** The objects of one array of a JSON object, one by one as the bytes come in. */

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const OPEN = new Set([0x7b, 0x5b]); // { [
const CLOSE = new Set([0x7d, 0x5d]);
const COLON = 0x3a;
const WHITE = new Set([0x20, 0x09, 0x0a, 0x0d, 0x2c]);

/**
 * Texts of the elements of the array that the top-level object has under `key`; each is an object. What stands beside the
 * array is passed over.
 *
 * @param fail what is thrown when the text is no such object, has no such array, or (`early`) ends too soon
 */
export async function* elementsOf(
  chunks: AsyncIterable<Buffer>,
  key: string,
  fail: (message: string, early: boolean) => Error,
): AsyncGenerator<string> {
  let depth = 0;
  let inString = false;
  let escaped = false;
  /** Of the last string at depth 1; it is a key when a colon follows. */
  let name: number[] | null = null;
  let current = '';
  let inArray = false;
  let found = false;
  /** Bytes of the element so far, from earlier chunks. */
  let element: Buffer[] | null = null;
  for await (const chunk of chunks) {
    let start = element === null ? -1 : 0;
    for (let at = 0; at < chunk.length; at++) {
      const byte = chunk[at] as number;
      if (inString) {
        if (depth === 1 && name !== null && (byte !== QUOTE || escaped)) name.push(byte);
        if (escaped) escaped = false;
        else if (byte === BACKSLASH) escaped = true;
        else if (byte === QUOTE) inString = false;
      } else if (byte === QUOTE) {
        inString = true;
        if (depth === 1) name = [];
      } else if (OPEN.has(byte)) {
        depth += 1;
        if (depth === 2 && byte === 0x5b && current === key) inArray = found = true;
        if (depth === 3 && inArray) start = at;
      } else if (CLOSE.has(byte)) {
        if (depth === 3 && inArray) {
          yield Buffer.concat([...(element ?? []), chunk.subarray(start, at + 1)]).toString();
          element = null;
          start = -1;
        }
        depth -= 1;
        if (depth === 1) inArray = false;
      } else if (byte === COLON && depth === 1 && name !== null) {
        current = Buffer.from(name).toString();
        name = null;
      } else if (depth === 0 && !WHITE.has(byte)) throw fail('expected a JSON object', false);
    }
    if (start >= 0) (element ??= []).push(chunk.subarray(start));
  }
  if (depth !== 0) throw fail('the answer ends too early', true);
  if (!found) throw fail('expected an array', false);
}
