import { closeSync, fsyncSync, openSync } from 'node:fs';
import { writeFully } from './files.ts';

/** A text file that grows line by line; on disk when it is closed. */
export interface LineWriter {
  readonly path: string;
  write(line: string | Buffer): void;
  close(): void;
  /** Closes without the sync; the file is litter. */
  abandon(): void;
}

const CHUNK_BYTES = 128 * 1024;

/** @param path replaced if it exists */
export function createLineWriter(path: string): LineWriter {
  const fd = openSync(path, 'w', 0o644);
  let parts: Buffer[] = [];
  let pending = 0;
  let open = true;
  const flush = (): void => {
    writeFully(fd, Buffer.concat(parts), path);
    parts = [];
    pending = 0;
  };
  const end = (finish: () => void): void => {
    if (!open) return;
    open = false;
    try {
      finish();
    } finally {
      closeSync(fd);
    }
  };
  return {
    path,
    write: (line) => {
      const bytes = typeof line === 'string' ? Buffer.from(line) : line;
      parts.push(bytes);
      pending += bytes.length;
      if (pending >= CHUNK_BYTES) flush();
    },
    close: () =>
      end(() => {
        flush();
        fsyncSync(fd);
      }),
    abandon: () => end(() => undefined),
  };
}
