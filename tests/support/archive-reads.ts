import { createReadStream } from 'node:fs';

/** Reads of ranges of a file, counted. Small chunks, so that what a reader takes is what it asked for. */
export function createArchiveReads(path: string): {
  read: (offset: number, length: number) => AsyncIterable<Buffer>;
  bytes: () => number;
  asked: () => number;
} {
  let bytes = 0;
  let asked = 0;
  return {
    read: async function* (offset, length) {
      asked += 1;
      const stream = createReadStream(path, {
        start: offset,
        end: offset + length - 1,
        highWaterMark: 16_384,
      });
      for await (const chunk of stream) {
        bytes += (chunk as Buffer).length;
        yield chunk as Buffer;
      }
    },
    bytes: () => bytes,
    asked: () => asked,
  };
}
