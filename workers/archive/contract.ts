/**
 * Where bundles are kept for the long term. A back end is a factory that gives such an object; all back ends pass the
 * same tests. A key is the bundle's archive path, as the catalog has it (`…/2026/raw_data/run1.tar`); its manifest
 * lies beside it as `<key>.manifest.ndjson`.
 *
 * An archive that cannot be reached is an outage (E_ARCHIVE_UNAVAILABLE), and is never taken for an absent bundle.
 */
export interface Archive {
  readonly name: string;
  readonly capabilities: ArchiveCapabilities;
  /** @throws E_ARCHIVE_UNAVAILABLE when nothing can be said about this key */
  ensureReachable(key: string): Promise<void>;
  /** Starts to put a bundle. What dead attempts at the same key left is removed. */
  beginPut(key: string, options: { task_id: string }): Promise<ArchivePut>;
  /** Null only when the archive is there and the bundle is not. */
  stat(key: string): Promise<ArchivedBundle | null>;
  /** @throws E_BUNDLE_MISSING */
  openBundle(key: string): Promise<OpenBundle>;
  /** Removes bundle and manifest; false when there was no bundle. */
  delete(key: string): Promise<boolean>;
}

export interface ArchiveCapabilities {
  /** Bundles are files that can be read and written in place; else they pass through a local copy. */
  readonly localFile: boolean;
  /** Parts of a bundle can be read by offset. */
  readonly range: boolean;
}

export interface ArchivePut {
  /** Write the bundle here… */
  readonly path: string;
  /** …and its manifest here. */
  readonly manifestPath: string;
  /** Makes both visible, the manifest first: who sees the bundle finds its manifest. */
  commit(): Promise<void>;
  /** Removes what was written. May be called after a failed commit. */
  abort(): Promise<void>;
}

export interface ArchivedBundle {
  readonly size: number;
  readonly modified: Date;
}

export interface OpenBundle {
  readonly path: string;
  /** Null for bundles that another system archived. */
  readonly manifestPath: string | null;
}

export const manifestKey = (key: string): string => `${key}.manifest.ndjson`;
