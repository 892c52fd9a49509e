/** Cuts a byte stream into lines, whatever the chunks. */
import { StringDecoder } from 'node:string_decoder';

/** A line longer than this is handed over in pieces: a program that never ends a line must not fill the memory. */
const MAX_LINE = 64 * 1024;

export interface LineSplitter {
  /** Lines that this chunk completes. */
  push(chunk: Buffer): string[];
  /** The last line, when it had no newline. */
  end(): string[];
}

export function createLineSplitter(): LineSplitter {
  const decoder = new StringDecoder('utf8');
  let rest = '';
  const cut = (text: string): string[] => {
    const lines = (rest + text).split('\n');
    rest = lines.pop() as string;
    while (rest.length >= MAX_LINE) {
      lines.push(rest.slice(0, MAX_LINE));
      rest = rest.slice(MAX_LINE);
    }
    return lines.map((line) => (line.endsWith('\r') ? line.slice(0, -1) : line));
  };
  return {
    push: (chunk) => cut(decoder.write(chunk)),
    end: () => {
      const lines = cut(decoder.end());
      if (rest !== '') lines.push(rest);
      rest = '';
      return lines;
    },
  };
}
