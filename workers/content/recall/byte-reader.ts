import { LongshoreError } from '../../errors.ts';

/** The bytes of a part of a bundle, as they come from an archive. */
export interface ByteReader {
  /** In the bundle, of the next byte. */
  readonly offset: number;
  /** What the archive failed with; null while it has not. Told apart from failures of who writes the bytes. */
  readonly failure: unknown;
  /** Between one and `most` bytes, valid until the next call. @throws E_BUNDLE_CORRUPT at the end */
  some(most: number): Promise<Buffer>;
  /** Exactly so many, a few. @throws E_BUNDLE_CORRUPT where the bundle ends before */
  exactly(length: number): Promise<Buffer>;
  skip(length: number): Promise<void>;
  /** Ends the transfer, also in the middle. */
  close(): Promise<void>;
}

export function createByteReader(
  source: AsyncIterable<Buffer>,
  start: number,
  onRead: (bytes: number) => void = () => undefined,
): ByteReader {
  const chunks = source[Symbol.asyncIterator]();
  let chunk: Buffer = Buffer.alloc(0);
  let used = 0;
  let offset = start;
  let failure: unknown = null;

  const next = async (): Promise<void> => {
    let result: IteratorResult<Buffer>;
    try {
      result = await chunks.next();
    } catch (error) {
      failure = error;
      throw error;
    }
    if (result.done === true)
      throw new LongshoreError('E_BUNDLE_CORRUPT', `the bundle ends at byte ${offset}`, {
        fields: { offset, what: 'the end of the bundle', expected: 'more bytes', actual: 'here' },
      });
    chunk = result.value;
    used = 0;
    onRead(chunk.length);
  };
  const some = async (most: number): Promise<Buffer> => {
    while (used === chunk.length) await next();
    const bytes = chunk.subarray(used, used + most);
    used += bytes.length;
    offset += bytes.length;
    return bytes;
  };
  return {
    get offset() {
      return offset;
    },
    get failure() {
      return failure;
    },
    some,
    exactly: async (length) => {
      const parts: Buffer[] = [];
      for (let left = length; left > 0; ) {
        const part = Buffer.from(await some(left));
        parts.push(part);
        left -= part.length;
      }
      return parts.length === 1 ? (parts[0] as Buffer) : Buffer.concat(parts);
    },
    skip: async (length) => {
      for (let left = length; left > 0; ) left -= (await some(left)).length;
    },
    close: async () => {
      await chunks.return?.();
    },
  };
}
