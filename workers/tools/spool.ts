/** Where log lines wait while their store is away: a file of bounded size that nobody else can see. */
import { closeSync, ftruncateSync, mkdtempSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { LogLine } from '../records/contract.ts';

export interface Spool {
  /** How many lines wait. */
  readonly waiting: number;
  /** False: it is full (or the disk is), and the lines were not taken. */
  add(lines: readonly LogLine[]): boolean;
  /** The oldest batch, as it was added, or null. It stays until `drop`. */
  first(): LogLine[] | null;
  drop(): void;
  close(): void;
}

interface Batch {
  readonly offset: number;
  readonly bytes: number;
  readonly lines: number;
}

/** The file is made with the first line and unlinked at once, so that a killed task leaves nothing. */
export function createSpool(max_bytes: number): Spool {
  const batches: Batch[] = [];
  let fd: number | null = null;
  let end = 0;
  let waiting = 0;
  return {
    get waiting() {
      return waiting;
    },
    add: (lines) => {
      const text = Buffer.from(JSON.stringify(lines));
      if (end + text.length > max_bytes) return false;
      try {
        fd ??= openUnlinked();
        writeFully(fd, text, end);
      } catch {
        return false; // No room for logs is a loss of logs, which the caller counts; the program must go on.
      }
      batches.push({ offset: end, bytes: text.length, lines: lines.length });
      end += text.length;
      waiting += lines.length;
      return true;
    },
    first: () => {
      const batch = batches[0];
      if (batch === undefined || fd === null) return null;
      const buffer = Buffer.alloc(batch.bytes);
      readSync(fd, buffer, 0, batch.bytes, batch.offset);
      return JSON.parse(buffer.toString()) as LogLine[];
    },
    drop: () => {
      waiting -= batches.shift()?.lines ?? 0;
      if (batches.length > 0 || fd === null) return;
      ftruncateSync(fd);
      end = 0;
    },
    close: () => {
      if (fd !== null) closeSync(fd);
      fd = null;
    },
  };
}

function openUnlinked(): number {
  const folder = mkdtempSync(join(tmpdir(), 'longshore-log-'));
  try {
    return openSync(join(folder, 'spool'), 'wx+', 0o600);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function writeFully(fd: number, bytes: Buffer, position: number): void {
  for (let done = 0; done < bytes.length; )
    done += writeSync(fd, bytes, done, bytes.length - done, position + done);
}
