/** Archived datasets in one or several archives of a place, as the archiving task leaves them. */
import { randomBytes } from 'node:crypto';
import { mkdirSync, renameSync, rmdirSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { loadConfig } from '../../config/index.ts';
import { type Archive, type LocalArchive, manifestKey } from '../../workers/archive/contract.ts';
import { openArchive } from '../../workers/archive/index.ts';
import { packBundle } from '../../workers/content/pack/pack.ts';
import { archivePathOf } from '../../workers/dataset/paths.ts';
import { openStore, type Store } from '../../workers/store.ts';
import { makePlace, type Place } from './place.ts';
import { runScript, type RunningScript, type ScriptResult, startScript } from './script.ts';

export interface Entry {
  readonly id: number;
  readonly name: string;
  readonly source: string;
  readonly key: string;
  /** Of the bundle. */
  readonly size: number;
  /** Of the bundle, a file. */
  readonly bundle: (archive?: string) => string;
}

export interface Vault {
  readonly place: Place;
  readonly store: Store;
  /** @param recorded false: from before copies were recorded */
  readonly add: (name: string, options?: { bytes?: number; recorded?: boolean }) => Promise<Entry>;
  readonly scrub: (...args: string[]) => Promise<ScriptResult>;
  readonly startScrub: (...args: string[]) => RunningScript;
  readonly longshore: (...args: string[]) => Promise<ScriptResult>;
  /** Of scripts that run in it. */
  readonly env: () => Readonly<Record<string, string>>;
  /** The same place with another part of the configuration. */
  readonly reconfigure: (overrides: Record<string, unknown>) => void;
  /** The archive `filesystem`: unmounted, as an empty mount point looks. */
  readonly unmount: () => void;
  readonly mount: () => void;
}

/** How far a proof is: a line that only a slow machine has time for. */
const METER = /^reading [^\n]*: \d+% [^\n]*\n/gm;

export const BUNDLES = 'data/archive';

/** @param second also keep every bundle in an archive of this name */
export async function makeVault(
  given: Record<string, unknown> = {},
  { second }: { second?: string } = {},
): Promise<Vault> {
  const first = await makePlace(given);
  const names = ['filesystem', ...(second === undefined ? [] : [second])];
  const archive = {
    copies: names,
    backends:
      second === undefined ? {} : { [second]: { kind: 'filesystem', root: first.dir('archives', second) } },
  };
  const base = { ...(JSON.parse(first.env.LONGSHORE_OVERRIDES ?? '{}') as object), archive };
  let env = { ...first.env, LONGSHORE_OVERRIDES: JSON.stringify(base) };
  const { config } = await loadConfig({ environment: { values: env, file: null, fromFile: new Set() } });
  const place: Place = { ...first, config, env };
  const store = await openStore(config);
  onTestFinished(() => store.close());
  const mounted = place.path(BUNDLES);
  const away = place.path('data/unmounted');
  return {
    place,
    store,
    env: () => env,
    reconfigure: (overrides) => {
      env = { ...env, LONGSHORE_OVERRIDES: JSON.stringify({ ...base, ...overrides }) };
    },
    add: async (name, { bytes = 2000, recorded = true } = {}) => {
      const source = place.dir('source', name);
      writeFileSync(join(source, 'data.bin'), randomBytes(bytes));
      writeFileSync(join(source, 'readme.txt'), `about ${name}\n`);
      const item = { name, type: 'RAW_DATA', origin_path: source, create_method: 'TEST' as const };
      const [answer] = await store.catalog.register([{ dataset: item }], 'test');
      if (answer?.outcome !== 'created') throw new Error(`${name} was not registered`);
      const { id } = answer.dataset;
      const key = archivePathOf(config, answer.dataset);
      let size = 0;
      for (const one of names) {
        const put = await local(openArchive(config, one)).beginPut(key, { task_id: 'task-0001' });
        const packed = await packBundle({
          source,
          target: put.path,
          manifest: put.manifestPath,
          digests: { member: ['blake3'], bundle: ['blake3'] },
        });
        await put.commit();
        size = packed.size;
        const record = { size, digests: packed.digests };
        if (recorded)
          await store.catalog.putCopy(id, {
            archive: one,
            key,
            ...record,
            stored_at: new Date().toISOString(),
          });
        await store.catalog.patch(id, {
          archive_path: key,
          num_files: packed.num_files,
          bundle: { name: `${name}.tar`, ...record, md5: null, verified_at: null },
        });
      }
      const bundle = (one = 'filesystem'): string => local(openArchive(config, one)).path(key);
      return { id, name, source, key, size, bundle };
    },
    scrub: (...args) => runScript('scrub.ts', args, env),
    startScrub: (...args) => startScript('scrub.ts', args, env),
    longshore: async (...args) => {
      const done = await runScript('longshore.ts', args, { ...env, LOG_LEVEL: 'warn' });
      return { ...done, stderr: done.stderr.replaceAll(METER, '') };
    },
    unmount: () => {
      renameSync(mounted, away);
      mkdirSync(mounted);
    },
    mount: () => {
      rmdirSync(mounted);
      renameSync(away, mounted);
    },
  };
}

function local(archive: Archive): LocalArchive {
  if (archive.local === null) throw new Error('not a local archive');
  return archive.local;
}

export function removeManifest(bundle: string): void {
  unlinkSync(manifestKey(bundle));
}
