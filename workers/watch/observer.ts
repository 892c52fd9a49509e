import { type FSWatcher, watch } from 'node:fs';
import { stat } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { coerceError } from '../errors.ts';
import type { Logger } from '../log.ts';
import type { Scanner, ScanResult } from './scanner.ts';

/** Errors double the pause up to this; the observer is never given up, as a source or a catalog may be away for days. */
const MAX_BACKOFF_MS = 60_000;
/** Several folders that are moved in together are one scan. */
const SETTLE_MS = 50;

export interface Observer {
  /** Resolves when the scan that is under way has ended. */
  stop(): Promise<void>;
}

/**
 * Looks at a source at once, then every `poll_ms`, and at once when the file system says that an entry came or went.
 * What a look finds to do is done until the next one is due.
 * Those hints (inotify, non-recursive) only shorten the wait: they do not cross a network file system and may be lost.
 */
export function observe(options: {
  scanner: Scanner;
  poll_ms: number;
  log: Logger;
  onScan?: (result: ScanResult) => void;
}): Observer {
  const { scanner, poll_ms, log } = options;
  const stopping = new AbortController();
  const hint = createHint(scanner.path, log);
  let errors = 0;
  let lastError = '';

  function failed(error: unknown): void {
    if (stopping.signal.aborted) return;
    errors += 1;
    const { code, message, hint: advice } = coerceError(error);
    if (message !== lastError)
      log.error({ source: scanner.path, code, hint: advice, err: error }, 'a scan failed and is repeated');
    lastError = message;
  }

  /** Milliseconds that the look took. */
  async function lookOnce(): Promise<number> {
    const started = performance.now();
    const result = await scanner.look(stopping.signal);
    options.onScan?.(result);
    return performance.now() - started;
  }

  /** Until all is done, or the next look is due: at least one batch, however many hints come. */
  async function work(settle: number): Promise<void> {
    const started = performance.now();
    const due = (): boolean => {
      const worked = performance.now() - started;
      return worked >= poll_ms || (hint.came() && worked >= settle);
    };
    while (await scanner.goOn()) if (stopping.signal.aborted || due()) break;
    if (errors > 0) log.info({ source: scanner.path, errors }, 'the source is scanned again');
    errors = 0;
    lastError = '';
  }

  async function round(): Promise<void> {
    let settle = SETTLE_MS;
    let looked = performance.now();
    try {
      // A busy source of 100,000 folders may not take more than a third of one core by its hints.
      settle = Math.max(SETTLE_MS, 2 * (await lookOnce()));
      looked = performance.now();
      await work(settle);
    } catch (error) {
      failed(error);
    }
    const pause = errors === 0 ? poll_ms : Math.min(MAX_BACKOFF_MS, poll_ms * 2 ** Math.min(errors, 16));
    const worked = performance.now() - looked;
    await hint.wait(Math.max(0, pause - worked), Math.max(SETTLE_MS, settle - worked));
  }

  async function loop(): Promise<void> {
    while (!stopping.signal.aborted) {
      await hint.arm();
      await round();
    }
  }

  const ended = loop();
  return {
    stop: async () => {
      stopping.abort();
      hint.close();
      await ended;
    },
  };
}

/** Wakes the observer when the file system tells of an entry that came or went. */
function createHint(path: string, log: Logger) {
  let watcher: FSWatcher | null = null;
  let identity: string | null = null;
  let hinted = false;
  let closed = false;
  let asleep = new AbortController();
  let complained = '';

  function disarm(): void {
    watcher?.close();
    watcher = null;
    identity = null;
  }

  function failed(error: unknown): void {
    disarm();
    const { code, message } = error as NodeJS.ErrnoException;
    // An absent source is the scanner's to report.
    if (code === 'ENOENT' || code === 'ENOTDIR' || message === complained) return;
    complained = message;
    log.info(
      { source: path, reason: message },
      'no notices from the file system; new folders are polled for',
    );
  }

  /** Not ended by hints: they would make a busy source be scanned without a break. */
  async function rest(ms: number): Promise<void> {
    const end = performance.now() + ms;
    for (let left = ms; left > 0; left = closed ? 0 : end - performance.now()) await nap(left);
  }

  async function nap(ms: number): Promise<void> {
    asleep = new AbortController();
    if (closed) return;
    await sleep(ms, undefined, { signal: asleep.signal }).catch((error: Error) => {
      if (error.name !== 'AbortError') throw error;
    });
  }

  return {
    came: (): boolean => hinted,
    close(): void {
      closed = true;
      disarm();
      asleep.abort();
    },
    /** A watcher follows the inode: after a remount, or a folder put in the old one's place, it would hear nothing. */
    async arm(): Promise<void> {
      try {
        const { dev, ino } = await stat(path, { bigint: true });
        if (closed || (watcher !== null && identity === `${dev}:${ino}`)) return;
        disarm();
        watcher = watch(path, (event) => {
          // `change` is a file being written or a folder's own attributes; names come and go as `rename`.
          if (event !== 'rename') return;
          hinted = true;
          asleep.abort();
        });
        watcher.on('error', failed);
        identity = `${dev}:${ino}`;
      } catch (error) {
        failed(error);
      }
    },
    /** Until `pause` is over, or a hint has come (before or meanwhile) and `settle` has passed since. */
    async wait(pause: number, settle: number): Promise<void> {
      if (!hinted) await nap(pause);
      if (!hinted) return;
      await rest(settle);
      hinted = false;
    },
  };
}
