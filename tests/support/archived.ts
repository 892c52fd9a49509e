/** A dataset that lies in one or several archives of a place, as the archive task leaves it. */
import { closeSync, openSync, readSync, writeSync } from 'node:fs';
import { onTestFinished } from 'vitest';
import type { LocalArchive } from '../../workers/archive/contract.ts';
import { type Archive, openArchive } from '../../workers/archive/index.ts';
import { type ManifestMember, readManifest } from '../../workers/content/manifest.ts';
import { packBundle } from '../../workers/content/pack/pack.ts';
import { archivePathOf } from '../../workers/dataset/paths.ts';
import { manifestKey } from '../../workers/archive/contract.ts';
import { openStore, type Store } from '../../workers/store.ts';
import { settleTimes } from '../content/trees.ts';
import { makePlace, type Place } from './place.ts';

export interface Archived {
  readonly place: Place;
  readonly store: Store;
  readonly id: number;
  readonly source: string;
  /** Of the bundle, a file. */
  bundle(archive?: string): string;
  manifest(archive?: string): string;
  member(path: string): ManifestMember;
  /** Turns one bit of a member's data. */
  damage(path: string, archive?: string): void;
}

export interface ArchivedOptions {
  readonly name?: string;
  /** More archives than `filesystem`, each a folder of that name. */
  readonly others?: readonly string[];
  readonly digests?: readonly ('blake3' | 'md5' | 'sha256')[];
  readonly config?: Record<string, unknown>;
}

export async function makeArchived(
  make: (source: string) => void,
  { name = 'run_A', others = [], digests = ['blake3'], config = {} }: ArchivedOptions = {},
): Promise<Archived> {
  const names = ['filesystem', ...others];
  const place = await makePlace(config);
  const backends = Object.fromEntries(
    others.map((other) => [other, { kind: 'filesystem', root: place.dir('archives', other) }]),
  );
  const overrides = { ...config, archive: { copies: names, backends } };
  const at = { ...place, ...(await withOverrides(place, overrides)) };
  const store = await openStore(at.config);
  onTestFinished(() => store.close());
  const source = place.dir('source', name);
  make(source);
  settleTimes(source);
  const [answer] = await store.catalog.register(
    [{ dataset: { name, type: 'RAW_DATA', origin_path: source, create_method: 'TEST' } }],
    'test',
  );
  if (answer?.outcome !== 'created') throw new Error('not registered');
  const { id } = answer.dataset;
  const key = archivePathOf(at.config, answer.dataset);
  for (const archive of names) {
    const put = await local(openArchive(at.config, archive)).beginPut(key, { task_id: 'task-0001' });
    const packed = await packBundle({
      source,
      target: put.path,
      manifest: put.manifestPath,
      digests: { member: digests, bundle: ['blake3'] },
    });
    await put.commit();
    const record = { size: packed.size, digests: packed.digests };
    await store.catalog.putCopy(id, { archive, key, ...record, stored_at: new Date().toISOString() });
    await store.catalog.patch(id, {
      archive_path: key,
      size: packed.bytes,
      num_files: packed.num_files,
      num_directories: packed.num_directories,
      bundle: { name: `${name}.tar`, ...record, md5: null, verified_at: null },
    });
  }
  const bundle = (archive = 'filesystem'): string => local(openArchive(at.config, archive)).path(key);
  const manifest = (archive?: string): string => manifestKey(bundle(archive));
  const member = (path: string): ManifestMember => {
    const found = [...readManifest(manifest())].find((one) => one.path === path);
    if (found === undefined) throw new Error(`no member ${path}`);
    return found;
  };
  return {
    place: at,
    store,
    id,
    source,
    bundle,
    manifest,
    member,
    damage: (path, archive) => flip(bundle(archive), member(path).offset ?? 0),
  };
}

function local(archive: Archive): LocalArchive {
  if (archive.local === null) throw new Error('not a local archive');
  return archive.local;
}

async function withOverrides(place: Place, overrides: Record<string, unknown>) {
  const known = JSON.parse(place.env.LONGSHORE_OVERRIDES ?? '{}') as Record<string, unknown>;
  const env = { ...place.env, LONGSHORE_OVERRIDES: JSON.stringify({ ...known, ...overrides }) };
  const { loadConfig } = await import('../../config/index.ts');
  const { config } = await loadConfig({ environment: { values: env, file: null, fromFile: new Set() } });
  return { env, config };
}

export function flip(path: string, at: number): void {
  const fd = openSync(path, 'r+');
  const byte = Buffer.alloc(1);
  readSync(fd, byte, 0, 1, at);
  writeSync(fd, Buffer.of((byte[0] ?? 0) ^ 1), 0, 1, at);
  closeSync(fd);
}
