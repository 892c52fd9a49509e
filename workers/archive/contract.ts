/**
 * Where bundles are kept for the long term. A back end is a factory that gives such an object; all back ends pass the
 * battery in tests/archive/battery.ts. A key is the bundle's archive path, as the catalog has it
 * (`…/2026/raw_data/run1.tar`); its manifest is an object of its own, `<key>.manifest.ndjson`. A back end knows objects
 * only; what belongs to a bundle is the business of bundles.ts.
 *
 * An archive that cannot be reached is an outage (E_ARCHIVE_UNAVAILABLE), and is never taken for an absent object.
 */
import type { Digests } from '../content/digest/digest.ts';
import { LongshoreError } from '../errors.ts';

export interface Archive {
  /** As `config.archive.backends` names it. */
  readonly name: string;
  readonly capabilities: ArchiveCapabilities;
  /** Set where objects are files of this host. */
  readonly local: LocalArchive | null;
  /** Where the object lies, for people: `s3://bucket/…`, `hsi:…`. */
  locate(key: string): string;
  /** Makes a new archive known to this host, before the first put; one that is known is not touched. */
  prepare(key: string, options?: CallOptions): Promise<void>;
  /** @throws E_ARCHIVE_UNAVAILABLE when nothing can be said about this key */
  ensureReachable(key: string, options?: CallOptions): Promise<void>;
  /** Null only when the archive is there and the object is not. */
  stat(key: string, options?: CallOptions): Promise<ArchivedObject | null>;
  /**
   * Stores an object whole or not at all; one that is there stays whole until the new one is, and is replaced in one
   * step, or where the back end has none for it (sda) removed right before the new one takes its name. Resolves when the
   * back end itself has confirmed the size, and the digest where it states one.
   * @throws E_TRANSFER what arrived differs from what was sent; nothing of it is visible
   */
  put(key: string, source: PutSource, options: PutOptions): Promise<ArchivedObject>;
  /**
   * Writes an object to a local file (replaced if it exists, unless the back end finds it to be this object), synced. A
   * file that holds the beginning of it already is continued where the back end can resume; what it notes for that lies at
   * `originPath(target)`, and goes with the target.
   * @throws E_BUNDLE_MISSING, E_TRANSFER
   */
  get(key: string, target: string, options: GetOptions): Promise<ArchivedObject>;
  /** The bytes from `offset`, `length` of them (default: all that follow). @throws E_BUNDLE_MISSING */
  read(key: string, options: ReadOptions): AsyncIterable<Buffer>;
  /** False when there was no such object. */
  delete(key: string, options?: CallOptions): Promise<boolean>;
  /** Every object whose key begins with `prefix` (a folder, with its slash), in no certain order. */
  list(prefix: string, options?: CallOptions): AsyncIterable<ListedObject>;
}

export interface ArchiveCapabilities {
  /** `put` takes bytes as they are made; without it a bundle is packed into a local file first. */
  readonly stream: boolean;
  /** `read` fetches only the asked part; without it, it fetches everything and lets the rest go by. */
  readonly range: boolean;
  /** A `get` that was killed goes on with what had arrived. What a `put` does is the back end's own business. */
  readonly resume: boolean;
  /** Digest that the archive computes and states itself; `put` compares it. Null: it states none. */
  readonly digest: 'md5' | 'sha256' | null;
  /** Transfers at a time of the whole fleet, where the archive can bear only so many (tape drives). */
  readonly max_transfers: number | null;
}

export interface CallOptions {
  readonly signal?: AbortSignal;
}

export type PutSource =
  /** `digests`: of the file, as far as they are known. */
  | { readonly file: string; readonly digests?: Readonly<Digests> }
  /** For back ends that say `stream`. `size`: how many there will be, where that is known. */
  | { readonly stream: AsyncIterable<Buffer>; readonly size: number | null };

export interface PutOptions extends CallOptions {
  /** The same in every attempt of one job: what a dead attempt left is found, and continued or removed, by it. */
  readonly task_id: string;
  /** Bytes that the archive has taken, as far as it says so. */
  readonly onProgress?: (bytes: number) => void;
}

export interface GetOptions extends CallOptions {
  readonly onProgress?: (bytes: number) => void;
}

export interface ReadOptions extends CallOptions {
  readonly offset?: number;
  readonly length?: number;
}

export interface ArchivedObject {
  readonly size: number;
  readonly modified: Date | null;
  /** As the archive states them; empty where it states none. */
  readonly digests: Readonly<Digests>;
}

export interface ListedObject {
  readonly key: string;
  readonly size: number;
}

/** Objects that are files: they are packed and read in place. */
export interface LocalArchive {
  path(key: string): string;
  /** No put of this host has used it yet, and the first one may: that it does not answer is no outage. Changes nothing. */
  isNew(key: string): Promise<boolean>;
  /**
   * Starts to put a bundle with its manifest. The newest of what dead attempts at the same key left lies at the paths that
   * it gives, to be gone on with or replaced; the rest is removed.
   */
  beginPut(key: string, options: { task_id: string }): Promise<LocalPut>;
}

export interface LocalPut {
  /** Write the bundle here… */
  readonly path: string;
  /** …and its manifest here. */
  readonly manifestPath: string;
  /**
   * Makes both visible, the manifest first: who sees the bundle finds its manifest. In the place of another bundle it is the
   * last: a kill in between must not leave the old bundle under a manifest that the origin equals.
   */
  commit(): Promise<void>;
  /** Removes what was written. May be called after a failed commit. */
  abort(): Promise<void>;
}

/** @param where as `locate` gives it */
export const missingObject = (archive: string, where: string): LongshoreError =>
  new LongshoreError('E_BUNDLE_MISSING', `the archive holds nothing at ${where}`, {
    fields: { archive, path: where },
  });

export const manifestKey = (key: string): string => `${key}.manifest.ndjson`;

/** Beside a file that `get` has begun and not ended: of which object it is. Who gives the file up removes both. */
export const originPath = (target: string): string => `${target}.from`;
