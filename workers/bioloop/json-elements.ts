/** The objects of one array of a JSON object, one by one as the bytes come in. */

const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/** What a byte outside of texts means; all others are parts of numbers and words. */
const OPEN = 1;
const CLOSE = 2;
const TEXT = 3;
const COLON = 4;
const BETWEEN = 5;
const KINDS = new Uint8Array(256);
for (const [kind, bytes] of [
  [OPEN, '{['],
  [CLOSE, '}]'],
  [TEXT, '"'],
  [COLON, ':'],
  [BETWEEN, ' \t\n\r,'],
] as const)
  for (const byte of Buffer.from(bytes)) KINDS[byte] = kind;
const BRACKET = 0x5b;

/**
 * Texts of the elements of the array that the top-level object has under `key`; each is an object. What stands beside the
 * array is passed over. A hundred million bytes take about a second.
 *
 * @param fail what is thrown when the text is no such object, has no such array, or (`early`) ends too soon
 */
export async function* elementsOf(
  chunks: AsyncIterable<Buffer>,
  key: string,
  fail: (message: string, early: boolean) => Error,
): AsyncGenerator<string> {
  let depth = 0;
  let inText = false;
  let escaped = false;
  /** Of the last text at depth 1; it is a key when a colon follows. */
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
      if (inText) {
        if (escaped) escaped = false;
        else if (byte === BACKSLASH) escaped = true;
        else if (byte === QUOTE) {
          inText = false;
          continue;
        }
        if (depth === 1) name?.push(byte);
        continue;
      }
      switch (KINDS[byte]) {
        case TEXT:
          inText = true;
          if (depth === 1) name = [];
          break;
        case OPEN:
          depth += 1;
          if (depth === 2 && byte === BRACKET && current === key) inArray = found = true;
          else if (depth === 3 && inArray) start = at;
          break;
        case CLOSE:
          if (depth === 3 && inArray) {
            yield element === null
              ? chunk.toString('utf8', start, at + 1)
              : Buffer.concat([...element, chunk.subarray(start, at + 1)]).toString();
            element = null;
            start = -1;
          }
          depth -= 1;
          if (depth === 1) inArray = false;
          break;
        case COLON:
          if (depth !== 1 || name === null) break;
          current = Buffer.from(name).toString();
          name = null;
          break;
        case BETWEEN:
          break;
        default:
          if (depth === 0) throw fail('expected a JSON object', false);
      }
    }
    if (start >= 0) (element ??= []).push(chunk.subarray(start));
  }
  if (depth !== 0) throw fail('the answer ends too early', true);
  if (!found) throw fail('expected an array', false);
}
