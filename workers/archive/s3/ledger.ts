import { createHash } from 'node:crypto';
import { closeSync, fdatasyncSync, openSync, readdirSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { textIfThere, writeFully, writeSmall } from '../../content/files.ts';
import { partialPath, publishFile, removeFile } from '../../content/publish.ts';
import type { PartPlan } from './parts.ts';
import { makeFolders } from '../../folders.ts';

/**
 * What this host knows of an unfinished multipart upload, so that the next attempt can go on with it: a file
 * `<state_dir>/uploads/<hash of bucket and key>.ndjson`, a head and one line for each part that the server has
 * confirmed. It is made in one step and then appended to, synced: written anew for each part, an upload of 10,000 parts
 * would write 6 GB of ledgers. A last line that a power cut left half is not there.
 */
export interface LedgerHead {
  readonly v: 1;
  readonly endpoint: string | null;
  readonly bucket: string;
  readonly key: string;
  readonly upload_id: string;
  readonly plan: PartPlan;
  /** What the upload was begun with, and cannot be changed: metadata and storage class. */
  readonly made_with: string;
  /** Who began it; for people. What is kept is decided by the bytes. */
  readonly task_id: string;
}

export interface LedgerPart {
  readonly number: number;
  readonly size: number;
  readonly md5: string;
  readonly etag: string;
}

export interface FoundLedger {
  readonly head: LedgerHead;
  readonly parts: ReadonlyMap<number, LedgerPart>;
}

export interface OpenLedger {
  add(part: LedgerPart): void;
  close(): void;
}

export type LedgerKey = Pick<LedgerHead, 'endpoint' | 'bucket' | 'key'>;

const folderOf = (state_dir: string): string => join(state_dir, 'uploads');

export function ledgerPath(state_dir: string, { endpoint, bucket, key }: LedgerKey): string {
  const name = createHash('sha256')
    .update(JSON.stringify([endpoint, bucket, key]))
    .digest('hex');
  return join(folderOf(state_dir), `${name.slice(0, 40)}.ndjson`);
}

/** Null when there is none that can be read; what cannot be read is of no use to anybody. */
export function readLedger(path: string): FoundLedger | null {
  const text = textIfThere(path);
  if (text === null) return null;
  const [first, ...rest] = text.split('\n').slice(0, -1).map(parseOrNull);
  const head = first as LedgerHead | null | undefined;
  if (head?.v !== 1 || typeof head.upload_id !== 'string') return null;
  const parts = new Map<number, LedgerPart>();
  for (const part of rest as (LedgerPart | null)[]) if (part !== null) parts.set(part.number, part);
  return { head, parts };
}

/** A ledger with these parts, in the place of the one that was there. */
export function beginLedger(path: string, head: LedgerHead, parts: Iterable<LedgerPart>): OpenLedger {
  makeFolders(dirname(path));
  const partial = partialPath(path, 'ledger'); // Always the same, so that a dead attempt's is written over.
  writeSmall(partial, [head, ...parts].map((one) => `${JSON.stringify(one)}\n`).join(''), { mode: 0o600 });
  publishFile(partial, path);
  const fd = openSync(path, 'a');
  return {
    add: (part) => {
      writeFully(fd, Buffer.from(`${JSON.stringify(part)}\n`), path);
      fdatasyncSync(fd);
    },
    close: () => closeSync(fd),
  };
}

export const removeLedger = (path: string): boolean => removeFile(path);

/** Ledgers of this bucket that nobody has written to for so long. */
export function oldLedgers(
  state_dir: string,
  { endpoint, bucket }: Omit<LedgerKey, 'key'>,
  age_ms: number,
): { path: string; head: LedgerHead }[] {
  makeFolders(folderOf(state_dir));
  return readdirSync(folderOf(state_dir))
    .filter((name) => name.endsWith('.ndjson'))
    .map((name) => join(folderOf(state_dir), name))
    .filter((path) => Date.now() - (statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? Infinity) > age_ms)
    .flatMap((path) => {
      const head = readLedger(path)?.head;
      return head !== undefined && head.endpoint === endpoint && head.bucket === bucket
        ? [{ path, head }]
        : [];
    });
}

function parseOrNull(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return null; // Cut off by a power cut: the part is sent again.
  }
}
