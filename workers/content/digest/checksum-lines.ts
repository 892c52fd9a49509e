import { encodePath } from '../path.ts';

/**
 * A line as md5sum, sha256sum and b3sum write it and `-c` reads it. `./` before every name: a file called `-` would be
 * read from stdin. A name with a backslash or an end of line has these escaped, and the line begins with a backslash.
 */
export function checksumLine(digest: string, path: string): Buffer {
  const escaped = path.replace(/[\\\n\r]/g, (char) => ESCAPES[char] ?? char);
  return Buffer.concat([
    Buffer.from(`${escaped === path ? '' : '\\'}${digest}  ./`),
    encodePath(escaped),
    Buffer.from('\n'),
  ]);
}

const ESCAPES: Readonly<Record<string, string>> = {
  '\\': String.raw`\\`,
  '\n': String.raw`\n`,
  '\r': String.raw`\r`,
};

/** A path in the manifest of a bag (RFC 8493, 2.1.3): one line, and the percent sign so that it can be turned back. */
export const bagPath = (path: string): string =>
  path.replace(/[%\r\n]/g, (char) => ({ '%': '%25', '\r': '%0D' })[char] ?? '%0A');
