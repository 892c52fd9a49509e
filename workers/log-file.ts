import { openSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { makeFolders } from './folders.ts';

export interface LastingFile {
  write(line: string): void;
}

export interface LastingFileOptions {
  /** Once for each time that it cannot be written. */
  readonly onFailure: (error: NodeJS.ErrnoException) => void;
  /** It can be written again, and did not keep as many lines. */
  readonly onLost: (lines: number) => void;
}

/** So much waits in memory for a file that cannot be written. */
const KEPT_BYTES = 1024 ** 2;
/** A pipe whose reader is slow, where somebody has made it non-blocking. */
const FULL_PIPE_MS = 20;

/**
 * Where log lines go, written at once and in this thread. One that cannot be written (its disk is full, its quota used up)
 * ends no work: lines wait, and are written with the next one that finds room. pino's own destination ends the process in
 * its place, and where that is prevented waits for ever at its next `fatal`, with the event loop.
 */
export function lastingFile(to: 1 | 2 | string, { onFailure, onLost }: LastingFileOptions): LastingFile {
  const fd = typeof to === 'string' ? openLog(to) : to;
  let waiting: Buffer[] = [];
  let bytes = 0;
  let lost = 0;
  let failing = false;
  let unread = false;

  function writeAll(): void {
    for (let line = waiting[0]; line !== undefined; line = waiting[0]) {
      const done = writeSome(fd, line);
      bytes -= done;
      if (done < line.length) waiting[0] = line.subarray(done);
      else waiting.shift();
    }
  }

  function failed(error: NodeJS.ErrnoException): void {
    if (error.code === 'EPIPE') {
      unread = true; // Nobody is left to read it.
      waiting = [];
    } else if (!failing) {
      failing = true;
      onFailure(error);
    }
  }

  return {
    write: (text) => {
      if (unread) return;
      const line = Buffer.from(text);
      if (bytes + line.length > KEPT_BYTES && bytes > 0) lost += 1;
      else {
        waiting.push(line);
        bytes += line.length;
      }
      try {
        writeAll();
      } catch (error) {
        return failed(error as NodeJS.ErrnoException);
      }
      failing = false;
      const lines = lost;
      lost = 0;
      if (lines > 0) onLost(lines);
    },
  };
}

function openLog(path: string): number {
  makeFolders(dirname(path));
  return openSync(path, 'a');
}

function writeSome(fd: number, bytes: Buffer): number {
  for (;;) {
    try {
      return writeSync(fd, bytes);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, FULL_PIPE_MS);
    }
  }
}
