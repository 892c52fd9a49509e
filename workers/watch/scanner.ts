import type { Logger } from '../log.ts';
import { createSourceReader, looksUnmounted, type ReadSource } from './source.ts';

/**
 * What happened in a source. `add` and `delete` are differences to what is known; every Nth scan is followed by a
 * `full_scan` with everything that was known and is there.
 */
export interface ScanEvent {
  readonly event: 'add' | 'delete' | 'full_scan';
  readonly names: readonly string[];
}

/**
 * Yields the names it is done with, batch by batch. A name that is not yielded comes again with the next scan. Batches
 * are asked for one by one: what has come meanwhile is handled between two of them.
 */
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
  /** One scan with all that it finds to do. Throws what the handler throws; what it had finished stays remembered. */
  scan(signal: AbortSignal): Promise<ScanResult>;
  /** Reads the source, and leaves what it finds to do to `goOn`. */
  look(signal: AbortSignal): Promise<ScanResult>;
  /** Has one batch handled, of the newest names first; false: nothing is left. */
  goOn(): Promise<boolean>;
}

/** An event whose batches are being handled. */
interface Work extends ScanEvent {
  readonly batches: AsyncIterator<readonly string[]>;
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

/**
 * New folders never wait for the ones before them: neither for a full scan of 100,000 known ones (15 s with SQLite) nor
 * for the rest of as many new ones (minutes). Each look puts what it found in front.
 */
export function createScanner(options: ScannerOptions): Scanner {
  const { path, memory, handle, log } = options;
  const read = options.read ?? createSourceReader(path);
  let known: Set<string> | null = null;
  let note: ScanNote = { scans: 0, device: null };
  let outage: string | null = null;
  /** Names of comers and goers in work that is open; the next look takes them for seen. */
  const waiting = new Set<string>();
  let open: Work[] = [];

  async function remember(): Promise<Set<string>> {
    const names = new Set(await memory.known());
    note = (await memory.note()) ?? note;
    return names;
  }

  function begin({ event, names }: ScanEvent, signal: AbortSignal): void {
    if (names.length === 0) return;
    const work = { event, names, batches: handle({ event, names }, signal)[Symbol.asyncIterator]() };
    if (event === 'full_scan') open.push(work);
    else open.unshift(work);
    if (event !== 'full_scan') for (const name of names) waiting.add(name);
  }

  /** Also of work that was broken off: what of it is not done is found anew. */
  function end(work: Work): void {
    open = open.filter((one) => one !== work);
    if (work.event !== 'full_scan') for (const name of work.names) waiting.delete(name);
  }

  async function settle({ event }: Work, done: readonly string[]): Promise<void> {
    const names = known as Set<string>;
    const gone = event === 'delete';
    const changed = done.filter((name) => names.has(name) === gone);
    if (changed.length === 0) return;
    await memory.apply(gone ? { add: [], remove: changed } : { add: changed, remove: [] });
    for (const name of changed) {
      if (gone) names.delete(name);
      else names.add(name);
    }
  }

  async function goOn(): Promise<boolean> {
    const [work] = open;
    if (work === undefined) return false;
    try {
      const { done, value } = await work.batches.next();
      if (done !== true) {
        await settle(work, value);
        return true;
      }
    } catch (error) {
      end(work);
      throw error;
    }
    end(work);
    if (work.event === 'full_scan') {
      // Not before: a restart in the middle of a full scan begins it again.
      note = { ...note, scans: 0 };
      await memory.setNote(note);
    }
    return open.length > 0;
  }

  /** Logs the change from one condition to the other, not every scan that meets it. */
  function outageIs(reason: string): ScanResult {
    if (reason !== outage)
      log.warn({ source: path, reason }, 'the source cannot be read; nothing is taken as deleted');
    outage = reason;
    return { outcome: 'outage', reason };
  }

  async function look(signal: AbortSignal): Promise<ScanResult> {
    const names = (known ??= await remember());
    const reading = await read((name) => names.has(name) || waiting.has(name));
    if (reading.outage !== null) return outageIs(reading.outage);
    if (looksUnmounted(reading, { known: names.size, device: note.device }))
      return outageIs(`it is empty and lies on another device than its ${names.size} known folders did`);
    if (outage !== null) log.info({ source: path, folders: reading.names.length }, 'the source is back');
    outage = null;

    const unknown = reading.names.filter((name) => !names.has(name));
    const added = unknown.filter((name) => !waiting.has(name));
    const deleted = goneFrom(names, reading.names, unknown.length).filter((name) => !waiting.has(name));
    const full = note.scans + 1 >= options.full_every && !open.some(({ event }) => event === 'full_scan');
    // The device is remembered before the folders are: known folders without their device could not be missed.
    note = { scans: note.scans + 1, device: reading.device };
    await memory.setNote(note);
    if (full) {
      const there = reading.names.filter((name) => names.has(name));
      if (there.length > 0) begin({ event: 'full_scan', names: there }, signal);
      else note = { ...note, scans: 0 };
    }
    begin({ event: 'delete', names: deleted }, signal);
    begin({ event: 'add', names: added }, signal);
    return { outcome: 'scanned', full, added: added.length, deleted: deleted.length, left: unknown.length };
  }

  return {
    path,
    look,
    goOn,
    async scan(signal) {
      const result = await look(signal);
      if (result.outcome === 'outage') return result;
      const found = open.filter(({ event }) => event === 'add').flatMap(({ names }) => names);
      while (await goOn());
      const names = known as Set<string>;
      const left = found.reduce((sum, name) => sum + (names.has(name) ? 0 : 1), 0);
      return { ...result, left };
    },
  };
}

/** Nearly always nothing is gone, which the numbers tell without a set of all that is there. */
function goneFrom(known: ReadonlySet<string>, present: readonly string[], added: number): string[] {
  if (present.length - added === known.size) return [];
  const there = new Set(present);
  return [...known].filter((name) => !there.has(name));
}
