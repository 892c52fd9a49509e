import type { Logger } from '../log.ts';
import { createSourceReader, looksUnmounted, type ReadSource } from './source.ts';

/**
 * What happened in a source. `add` and `delete` are differences to what is known; every Nth scan is a `full_scan`
 * with everything that is there, in place of them.
 */
export interface ScanEvent {
  readonly event: 'add' | 'delete' | 'full_scan';
  readonly names: readonly string[];
}

/** Yields the names it is done with, batch by batch. A name that is not yielded comes again with the next scan. */
export type Handle = (event: ScanEvent, signal: AbortSignal) => AsyncIterable<readonly string[]>;

/** What a scanner remembers of its source across restarts. */
export interface ScanMemory {
  known(): Promise<Iterable<string>>;
  apply(change: { add: readonly string[]; remove: readonly string[] }): Promise<void>;
  note(): Promise<ScanNote | null>;
  setNote(note: ScanNote): Promise<void>;
}

export interface ScanNote {
  /** Scans since the last full one. */
  scans: number;
  /** Device of the source when it last read well. */
  device: string | null;
}

export type ScanResult =
  | { readonly outcome: 'outage'; readonly reason: string }
  | {
      readonly outcome: 'scanned';
      readonly full: boolean;
      readonly added: number;
      readonly deleted: number;
      /** Names that the handler left for the next scan. */
      readonly left: number;
    };

export interface Scanner {
  readonly path: string;
  /** One scan. Throws what the handler throws; what it had finished stays remembered. */
  scan(signal: AbortSignal): Promise<ScanResult>;
}

export interface ScannerOptions {
  path: string;
  memory: ScanMemory;
  /** Every Nth scan is a full one. */
  full_every: number;
  handle: Handle;
  log: Logger;
  /** Replaced by tests that make a file system fail. */
  read?: ReadSource;
}

export function createScanner(options: ScannerOptions): Scanner {
  const { path, memory, handle, log } = options;
  const read = options.read ?? createSourceReader(path);
  let known: Set<string> | null = null;
  let note: ScanNote = { scans: 0, device: null };
  let outage: string | null = null;

  async function remember(): Promise<Set<string>> {
    const names = new Set(await memory.known());
    note = (await memory.note()) ?? note;
    return names;
  }

  async function run(event: ScanEvent, signal: AbortSignal): Promise<void> {
    if (event.names.length === 0) return;
    const names = known as Set<string>;
    const gone = event.event === 'delete';
    for await (const done of handle(event, signal)) {
      const changed = done.filter((name) => names.has(name) === gone);
      if (changed.length === 0) continue;
      await memory.apply(gone ? { add: [], remove: changed } : { add: changed, remove: [] });
      for (const name of changed) {
        if (gone) names.delete(name);
        else names.add(name);
      }
    }
  }

  /** Logs the change from one condition to the other, not every scan that meets it. */
  function outageIs(reason: string): ScanResult {
    if (reason !== outage)
      log.warn({ source: path, reason }, 'the source cannot be read; nothing is taken as deleted');
    outage = reason;
    return { outcome: 'outage', reason };
  }

  return {
    path,
    async scan(signal) {
      const names = (known ??= await remember());
      const reading = await read((name) => names.has(name));
      if (reading.outage !== null) return outageIs(reading.outage);
      if (looksUnmounted(reading, { known: names.size, device: note.device }))
        return outageIs(`it is empty and lies on another device than its ${names.size} known folders did`);
      if (outage !== null) log.info({ source: path, folders: reading.names.length }, 'the source is back');
      outage = null;

      const added = reading.names.filter((name) => !names.has(name));
      const deleted = goneFrom(names, reading.names, added.length);
      const full = note.scans + 1 >= options.full_every;
      // The device is remembered before the folders are: known folders without their device could not be missed.
      if (note.device !== reading.device) await memory.setNote({ ...note, device: reading.device });
      note = { scans: full ? 0 : note.scans + 1, device: reading.device };
      if (full) await run({ event: 'full_scan', names: reading.names }, signal);
      else await run({ event: 'add', names: added }, signal);
      await run({ event: 'delete', names: deleted }, signal);
      await memory.setNote(note);
      const left = added.reduce((sum, name) => sum + (names.has(name) ? 0 : 1), 0);
      return { outcome: 'scanned', full, added: added.length, deleted: deleted.length, left };
    },
  };
}

/** Nearly always nothing is gone, which the numbers tell without a set of all that is there. */
function goneFrom(known: ReadonlySet<string>, present: readonly string[], added: number): string[] {
  if (present.length - added === known.size) return [];
  const there = new Set(present);
  return [...known].filter((name) => !there.has(name));
}
