/** The whole way behind the facility's API: what an instrument leaves in a folder is landed, and the API knows it. */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { aliasOf } from '../../workers/dataset/paths.ts';
import { type BioloopApi, startBioloopApi } from '../support/bioloop-api.ts';
import type { StoredDataset } from '../support/bioloop-store.ts';
import { startWorker } from '../support/fleet.ts';
import { makePlace, type Place } from '../support/place.ts';
import { restOverrides } from '../support/rest-place.ts';
import { until } from '../support/until.ts';

const STATES = ['REGISTERED', 'READY', 'ARCHIVED', 'FETCHED', 'STAGED'];
const FILES = { 'a.fastq.gz': 'reads', 'deep/b.bam': 'more reads', 'deep/note (1).txt': 'ü' };
const SETS = [
  ['RAW_DATA', 'raw_data', 'run 7 (a)', 'run-7-a-'],
  ['DATA_PRODUCT', 'data_products', 'results', 'results'],
] as const;

const md5 = (bytes: Buffer | string): string => createHash('md5').update(bytes).digest('hex');

async function begin(): Promise<{ double: BioloopApi; place: Place; log: () => string }> {
  const double = await startBioloopApi();
  const place = await makePlace({
    ...restOverrides(double, { delay_scale: 0.05 }),
    registration: {
      recency_threshold_seconds: 1,
      wait_between_stability_checks_seconds: 0.5,
      poll_interval_seconds: 0.5,
      full_scan_every_n_scans: 5,
    },
    workflow: { reconcile_seconds: 2 },
  });
  for (const [, folder, name] of SETS)
    for (const [path, content] of Object.entries(FILES)) {
      const file = join(place.dir('data/source', folder, name), path);
      mkdirSync(join(file, '..'), { recursive: true });
      writeFileSync(file, content);
    }
  let worker = startWorker(place, 0, {});
  const output: string[] = [];
  const watch = spawn(process.execPath, [join(import.meta.dirname, '../../scripts/watch.ts')], {
    env: { ...process.env, ...place.env, LOG_LEVEL: 'info' },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  for (const stream of [watch.stdout, watch.stderr])
    stream.on('data', (chunk: Buffer) => output.push(chunk.toString()));
  onTestFinished(async () => {
    watch.kill('SIGKILL');
    worker.kill('SIGKILL');
    await worker.exited;
  });
  return { double, place, log: () => `${output.join('')}\n${worker.log()}` };
}

/** As the API tells of it, what is on disk, and what the reference's own tests ask for. */
function expectLanded(double: BioloopApi, place: Place, dataset: StoredDataset, folder: string): void {
  const { name, type, metadata, bundle, id } = dataset;
  const alias = aliasOf(place.config, { id, name, metadata: {} } as never);
  expect(dataset.states.map(({ state }) => state)).toEqual(STATES);
  expect(dataset).toMatchObject({ create_method: 'SCAN', num_files: 3, num_directories: 1, is_staged: true });
  expect(metadata).toMatchObject({ stage_alias: alias, num_genome_files: 2 });
  const rows = [...dataset.files.values()].filter(({ filetype }) => filetype !== 'directory');
  expect(Object.fromEntries(rows.map((row) => [row.path, row.md5]))).toEqual(
    Object.fromEntries(Object.entries(FILES).map(([path, content]) => [path, md5(content)])),
  );
  const archived = readFileSync(dataset.archive_path ?? '');
  expect(dataset.archive_path).toMatch(new RegExp(`/${name}\\.tar$`));
  expect(bundle).toMatchObject({ name: `${name}.tar`, md5: md5(archived), size: BigInt(archived.length) });
  expect(dataset.staged_path).toBe(place.path(`data/staged/${folder}`, alias, name));
  expect(readdirSync(dataset.staged_path ?? '').toSorted()).toEqual(['a.fastq.gz', 'deep']);
  const links = place.path('data/downloads');
  expect(readlinkSync(join(links, alias))).toBe(dataset.staged_path);
  expect(existsSync(join(links, `${name}.${type}.tar`))).toBe(true);
  expect(double.store.linked(id)).toHaveLength(1);
}

const landed = (double: BioloopApi) =>
  [...double.store.datasets.values()].filter((one) => one.states.at(-1)?.state === 'STAGED');

const isPublished = (double: BioloopApi, place: Place): boolean =>
  landed(double).length === 2 &&
  landed(double).every(({ name, type }) =>
    existsSync(join(place.path('data/downloads'), `${name}.${type}.tar`)),
  );

test('a watched folder is STAGED with its links, for both types, and the API has all of it', {
  timeout: 240_000,
}, async () => {
  const { double, place, log } = await begin();
  await until(() => isPublished(double, place), { ms: 200_000, what: 'both to be landed' }).catch(
    (error: unknown) => {
      console.error(log());
      throw error;
    },
  );
  for (const [type, folder, , name] of SETS) {
    const dataset = landed(double).find((one) => one.type === type);
    expect(dataset?.name).toBe(name);
    expectLanded(double, place, dataset as StoredDataset, folder);
  }
});

test('an API that is away from registration on loses nothing of a landing', {
  timeout: 240_000,
}, async () => {
  const { double, place, log } = await begin();
  await until(() => double.store.datasets.size === 2 && double.store.workflows.size === 2, {
    what: 'both to be registered',
  });
  double.fail('', { kind: 'status', status: 503 });
  const refused = double.calls.length;
  await until(() => double.calls.length > refused + 20, { what: 'calls that failed' });
  double.heal();
  await until(() => isPublished(double, place), { ms: 200_000, what: 'both to be landed' }).catch(
    (error: unknown) => {
      console.error(log());
      throw error;
    },
  );
  for (const [type, folder] of SETS)
    expectLanded(double, place, landed(double).find((one) => one.type === type) as StoredDataset, folder);
});
