/** A staging from tape beside others who need the same bundle: the tape moves once. */
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { fetchPlace, openArchive } from '../../workers/archive/index.ts';
import { proveCopy } from '../../workers/archive/proof.ts';
import { openReadable } from '../../workers/archive/recall.ts';
import { gather } from '../support/gather.ts';
import { smallFileSystem } from '../support/small-file-system.ts';
import { tapeInUse } from '../support/tape.ts';
import { until } from '../support/until.ts';
import { type Files, fingerprint, type Landing, makeLanding } from './landing.ts';

const HSI = join(import.meta.dirname, '../fixtures/bin/hsi');
const RUN_TASK = join(import.meta.dirname, '../fixtures/run-task.ts');
const MB = 1024 * 1024;

const few: Files = { 'big.bin': randomBytes(6 * MB + 5), small: 'y', 'sub/reads': randomBytes(70_000) };

async function archived(files: Files = few, stage: Record<string, unknown> = {}): Promise<Landing> {
  const tape = { kind: 'sda', hsi: HSI, hsi_args: ['--stand-in={home}/hpss'], poll_seconds: 1 };
  const landing = await makeLanding(files, {
    config: { archive: { copies: ['tape'], backends: { tape } }, stage },
  });
  tapeInUse(landing.place, await landing.dataset());
  await landing.upTo('archive_dataset');
  return landing;
}

/** How often the tape gave the bundle. */
function gets({ place }: Landing): number {
  const calls = readFileSync(place.path('hpss/calls.ndjson'), 'utf8').trim().split('\n');
  return calls.filter((call) => /^"get .*\.tar"$/.test(call)).length;
}

/** It gives half of a bundle, and the rest when the others have come. */
const control = ({ place }: Landing, how: Record<string, unknown>): void => {
  const path = place.path('hpss/control.json');
  writeFileSync(`${path}.new`, JSON.stringify(how));
  renameSync(`${path}.new`, path); // It is read over and over.
};

const scratch = ({ place }: Landing): string[] => {
  const folder = place.path('data/scratch');
  return existsSync(folder) ? readdirSync(folder, { recursive: true, encoding: 'utf8' }) : [];
};

/** So many are at it, or wait. */
async function users(landing: Landing, count: number): Promise<void> {
  await until(() => scratch(landing).filter((path) => path.includes('/using-')).length >= count, {
    what: `${count} who need the bundle`,
  });
}

/** What a recall reads, and what a proof finds. */
async function others(landing: Landing) {
  const { place, id } = landing;
  const archive = openArchive(place.config, 'tape');
  const { archive_path, bundle } = await landing.dataset();
  const key = archive_path as string;
  const size = bundle?.size ?? 0;
  const recalled = async (): Promise<Buffer> => {
    const open = await openReadable({ archive, key, size, ...fetchPlace(place.config) });
    try {
      return Buffer.concat(await gather(open.read(0, size)));
    } finally {
      await open.close();
    }
  };
  const proven = () =>
    proveCopy({
      dataset_id: id,
      archive,
      copy: { key, size, digests: bundle?.digests ?? {} },
      level: 'stream',
      actor: 'someone',
      scratch: place.config.paths.scratch,
    });
  const stored = (): Buffer => readFileSync(place.path('hpss/files', key));
  return { recalled, proven, stored };
}

async function expectStaged(landing: Landing): Promise<void> {
  const { staged_path } = await landing.dataset();
  expect(fingerprint(staged_path as string)).toBe(fingerprint(landing.origin));
  expect(scratch(landing)).toEqual([]);
  expect(
    readdirSync(landing.place.path('data'), { recursive: true, encoding: 'utf8' }).filter((name) =>
      name.includes('.partial-'),
    ),
  ).toEqual([]);
}

const stagedBundle = ({ place }: Landing): string =>
  place.path('data/bundle/raw_data/staging/run_A.RAW_DATA.tar');

test.each(['a recall', 'a staging', 'a proof'])(
  'a staging, a recall and a proof of one bundle share one transfer, %s coming first',
  async (first) => {
    const landing = await archived();
    const { recalled, proven, stored } = await others(landing);
    control(landing, { hold: '.tar' });
    const all = {
      'a recall': recalled,
      'a staging': () => landing.run('stage_dataset'),
      'a proof': proven,
    };
    const running = new Map<string, Promise<unknown>>();
    running.set(first, all[first as keyof typeof all]());
    await until(() => gets(landing) === 1, { what: 'the transfer' });
    for (const [who, start] of Object.entries(all)) if (who !== first) running.set(who, start());
    await users(landing, 3);
    control(landing, {});
    await Promise.all(running.values());
    expect(gets(landing)).toBe(1);
    expect((await running.get('a recall')) as Buffer).toEqual(stored());
    expect(await running.get('a proof')).toMatchObject({ level: 'stream', result: 'ok' });
    expect(readFileSync(stagedBundle(landing)).equals(stored())).toBe(true);
    expect(statSync(stagedBundle(landing)).nlink).toBe(1);
    await expectStaged(landing);
  },
);

test.for([
  ['a recall', true],
  ['a recall', false],
  ['a staging', true],
  ['a staging', false],
] as const)(
  'so they do across file systems, %s coming first (staged bundle kept: %s)',
  async ([first, keep_bundle], { skip }) => {
    const landing = await archived(few, { keep_bundle });
    const apart = smallFileSystem(landing.place.dir('data/scratch'), ['size=40m']);
    if (apart === null) return skip('NOT TESTED: needs root, to mount a file system');
    const { recalled, stored } = await others(landing);
    control(landing, { hold: '.tar' });
    const starts = [recalled, () => landing.run('stage_dataset')];
    if (first === 'a staging') starts.reverse();
    const one = starts[0]?.();
    await until(() => gets(landing) === 1, { what: 'the transfer' });
    const other = starts[1]?.();
    await users(landing, 2);
    control(landing, {});
    await Promise.all([one, other]);
    expect(gets(landing)).toBe(1);
    expect(existsSync(stagedBundle(landing))).toBe(keep_bundle);
    if (keep_bundle) expect(readFileSync(stagedBundle(landing)).equals(stored())).toBe(true);
    await expectStaged(landing);
  },
);

test('killed when the bundle is here, the next attempt unpacks it without the tape; a proof wants the tape', async () => {
  const landing = await archived(
    Object.fromEntries(Array.from({ length: 6000 }, (_, at) => [`d${at % 40}/f${at}`, randomBytes(2000)])),
  );
  const stage = landing.place.path('data/staged/raw_data');
  mkdirSync(stage, { recursive: true });
  const child = spawn(process.execPath, [RUN_TASK, 'stage_dataset', String(landing.id), 'dead0001'], {
    env: { ...process.env, ...landing.place.env },
    stdio: 'ignore',
    detached: true,
  });
  const begun = (): boolean =>
    readdirSync(stage, { recursive: true, encoding: 'utf8' }).some((name) =>
      /partial-dead0001\/d1\//.test(name),
    );
  await until(begun, { what: 'a file of the tree' });
  process.kill(-(child.pid as number), 'SIGKILL');
  await once(child, 'close');
  expect(gets(landing)).toBe(1);
  expect(existsSync(stagedBundle(landing))).toBe(false);
  expect(scratch(landing).some((name) => name.endsWith('/bundle'))).toBe(true);

  const { proven } = await others(landing);
  expect(await proven()).toMatchObject({ result: 'ok' });
  expect(gets(landing)).toBe(2); // What the dead one has brought says nothing of the tape of now.
  await landing.run('stage_dataset', { attempt: 2 });
  expect(gets(landing)).toBe(2);
  await expectStaged(landing);
});
