/** Task bodies against real faults: killed processes, full disks, refused reads, an origin that goes away. */
import { spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { chmodSync, readdirSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import type { ErrorReport } from '../../workers/errors.ts';
import { coerceError } from '../../workers/errors.ts';
import { smallFileSystem } from '../support/small-file-system.ts';
import { until } from '../support/until.ts';
import { type Files, fingerprint, type Landing, makeLanding } from '../tasks/landing.ts';

const script = join(import.meta.dirname, '../fixtures/run-task.ts');

interface Ended {
  /** Bytes that the process has written. */
  written?: number;
  value?: unknown;
  error?: ErrorReport;
}

/** Runs a task in a process of its own; `kill_after` ms it is killed, with all that it started. */
async function runApart(
  landing: Landing,
  task: string,
  options: { attempt?: number; kill_after?: number; uid?: number } = {},
): Promise<Ended | 'killed'> {
  const { uid, kill_after } = options;
  const child = spawn(
    process.execPath,
    [script, task, String(landing.id), 'task-0001', String(options.attempt ?? 1)],
    {
      env: { ...process.env, ...landing.place.env },
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
      ...(uid === undefined ? {} : { uid, gid: uid }),
    },
  );
  const output = Promise.all([text(child.stdout), text(child.stderr)]);
  if (kill_after !== undefined) {
    await sleep(kill_after);
    killGroup(child.pid as number);
  }
  const [stdout, stderr] = await output;
  const last = stdout.trim().split('\n').at(-1) ?? '';
  if (last === '' && kill_after !== undefined) return 'killed';
  if (!last.startsWith('{')) throw new Error(`no answer from ${task}: ${stdout} ${stderr}`);
  return JSON.parse(last) as Ended;
}

function killGroup(pid: number): void {
  try {
    process.kill(-pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error; // It was quicker.
  }
}

const below = (landing: Landing, ...args: string[]): string[] =>
  spawnSync('find', [landing.place.path('data'), ...args], { encoding: 'utf8' })
    .stdout.split('\n')
    .filter((line) => line !== '');

test('archive and stage killed at eight moments each land the dataset once, byte-identical, without litter', async () => {
  const files: Files = Object.fromEntries(
    Array.from({ length: 3000 }, (_, at) => [`d${at % 40}/f${at}`, Buffer.alloc(3000 + at, at % 251)]),
  );
  const landing = await makeLanding(files);
  await landing.run('inspect_dataset');
  for (const task of ['archive_dataset', 'stage_dataset']) {
    let killed = 0;
    // The process needs about 300 ms to start; the work itself is what shall be hit.
    for (let attempt = 1; attempt <= 8; attempt++) {
      const ended = await runApart(landing, task, { attempt, kill_after: 250 + attempt * 70 });
      if (ended === 'killed') killed += 1;
      else expect(ended.error).toBeUndefined();
    }
    expect(killed).toBeGreaterThan(0);
    expect(await runApart(landing, task, { attempt: 9 })).toMatchObject({ value: [landing.id] });
  }
  await landing.run('validate_dataset');
  const { staged_path, archive_path } = await landing.dataset();
  expect(fingerprint(staged_path as string)).toBe(fingerprint(landing.origin));
  expect(below(landing, '-name', '*.partial-*')).toEqual([]);
  expect(below(landing, '-name', '*.tar').toSorted()).toEqual(
    [
      archive_path as string,
      landing.place.path('data/bundle/raw_data/staging/run_A.RAW_DATA.tar'),
    ].toSorted(),
  );
  expect(await landing.states()).toEqual(['REGISTERED', 'ARCHIVED', 'FETCHED', 'STAGED']);
  expect(await landing.store.catalog.countFiles(landing.id)).toBe(3000);
}, 300_000);

test('killed in the middle of one large file, archive and stage go on with what they had, under another task too', async () => {
  const landing = await makeLanding(
    { 'big.bin': randomBytes(200_000_000), small: 'y' },
    {
      config: {
        archive: { checkpoint_bytes: 4 * 1024 ** 2 },
        digests: { member: ['blake3', 'md5', 'sha256'] },
      },
    },
  );
  await landing.run('inspect_dataset');
  for (const task of ['archive_dataset', 'stage_dataset']) {
    const child = spawn(process.execPath, [script, task, String(landing.id), 'dead0001', '1'], {
      env: { ...process.env, ...landing.place.env },
      stdio: 'ignore',
      detached: true,
    });
    const half = (): number => {
      const [path] = below(landing, '-name', '.run_A*.partial-dead0001', '-size', '+40000k');
      return path === undefined ? 0 : statSync(path).size;
    };
    await until(() => half() > 0, { what: 'a part of the bundle' });
    killGroup(child.pid as number);
    await once(child, 'close');
    const kept = half();
    const ended = await runApart(landing, task, { attempt: 2 }); // Another task id, as after a resume by a person.
    expect(ended).toMatchObject({ value: [landing.id] });
    const { written } = ended as { written: number };
    const whole = task === 'archive_dataset' ? 200_000_000 : 400_000_000;
    expect(written).toBeLessThan(whole - kept + 16 * 1024 ** 2);
    expect(below(landing, '-name', '*.partial-*')).toEqual([]);
  }
  await landing.run('validate_dataset');
  const { staged_path } = await landing.dataset();
  expect(fingerprint(staged_path as string)).toBe(fingerprint(landing.origin));
});

test('what the service user may not read is named, and nothing is archived', async (context) => {
  if (process.getuid?.() !== 0) context.skip('NOT TESTED: needs root, to run the task as another user');
  const landing = await makeLanding({ 'open/a': 'x', 'closed/b': 'y', secret: 'z' });
  chmodSync(join(landing.origin, 'closed'), 0o700);
  chmodSync(join(landing.origin, 'secret'), 0o600);
  spawnSync('chmod', ['-R', 'a+rwX', landing.place.folder]);
  chmodSync(join(landing.origin, 'closed'), 0o700);
  chmodSync(join(landing.origin, 'secret'), 0o600);
  const ended = await runApart(landing, 'inspect_dataset', { uid: 65_534 });
  expect(ended).toMatchObject({ error: { code: 'E_INSPECTION', class: 'operator' } });
  const { fields } = (ended as { error: ErrorReport }).error;
  expect((fields.problems as [string, string][]).map(([path]) => path)).toEqual(['closed', 'secret']);
  const packed = await runApart(landing, 'archive_dataset', { uid: 65_534 });
  expect(packed).toMatchObject({ error: { code: 'E_INSPECTION' } });
  expect(below(landing, '-name', '*.tar', '-o', '-name', '*.partial-*')).toEqual([]);
});

const NO_MOUNT = 'NOT TESTED: a tmpfs cannot be mounted here; full disks are not provoked';

test.for(['archive', 'staged'])(
  'a disk of 8 MiB for %s is refused beforehand, and survived when it fills up midway',
  async (where, context) => {
    const landing = await makeLanding({ big: Buffer.alloc(20_000_000, 'x'), small: 'y' });
    const task = where === 'archive' ? 'archive_dataset' : 'stage_dataset';
    const folder = smallFileSystem(landing.place.dir('data', where), ['size=8m']);
    if (folder === null) return context.skip(NO_MOUNT);
    await landing.run('inspect_dataset');
    if (where === 'staged') await landing.run('archive_dataset');

    const refused = await landing.fails(task);
    expect(refused).toMatchObject({ code: 'E_NO_SPACE', fields: { need: expect.any(Number) } });
    expect(refused.message).toMatch(/available.*needed/);
    // The catalog says little, so that the promise is given and the disk is met in the middle.
    await landing.store.catalog.patch(landing.id, { size: 1 });
    const full = await landing.fails(task, { attempt: 2 });
    expect(full.code).toBe('E_NO_SPACE');
    expect(full.message).toContain(folder);
    expect(below(landing, '-name', '*.partial-*')).toEqual([]);

    spawnSync('mount', ['-o', 'remount,size=64m', folder]);
    await landing.run(task, { attempt: 3 });
    if (where === 'staged') await landing.run('validate_dataset');
    expect(below(landing, '-name', '*.partial-*')).toEqual([]);
  },
);

test('a disk that is full before the archive has its mark is told with its path, and the mark follows', async (context) => {
  const landing = await makeLanding({ small: 'y' });
  await landing.run('inspect_dataset');
  const folder = smallFileSystem(landing.place.dir('data/archive'), ['size=8k']);
  if (folder === null) return context.skip(NO_MOUNT);
  writeFileSync(join(folder, 'others'), Buffer.alloc(8192));
  // As the engine gives every failure its code.
  const full = coerceError(await landing.run('archive_dataset').catch((error: unknown) => error));
  expect(full.code).toBe('E_NO_SPACE');
  expect(full.message).toContain(join(folder, '.longshore-archive'));
  spawnSync('mount', ['-o', 'remount,size=64m', folder]);
  await landing.run('archive_dataset', { attempt: 2 });
  expect(readFileSync(join(folder, '.longshore-archive'), 'utf8')).toContain('archive of Longshore');
});

test('an origin that goes away while it is read fails by name, and nothing is published', async () => {
  const landing = await makeLanding({ folder: null });
  for (let at = 0; at < 6; at++) {
    const file = join(landing.origin, `holes-${at}`);
    writeFileSync(file, 'x');
    truncateSync(file, 512 * 1024 * 1024); // Read as zeros at full speed, and no disk is filled.
  }
  await landing.run('inspect_dataset', { kwargs: { digests: false } });
  let gone = false;
  const error = await landing.fails('archive_dataset', {
    onProgress: (name, done) => {
      if (name !== 'archive' || done === 0 || gone) return;
      gone = true;
      rmSync(landing.origin, { recursive: true });
    },
  });
  expect(gone).toBe(true);
  expect(['E_SOURCE_CHANGED', 'E_ORIGIN_MISSING']).toContain(error.code);
  expect(below(landing, '-name', '*.tar', '-o', '-name', '*.partial-*')).toEqual([]);
  expect((await landing.dataset()).archive_path).toBeNull();
});

test('a task that is stopped leaves at once, and leaves nothing', async () => {
  const landing = await makeLanding({ folder: null });
  for (let at = 0; at < 6; at++) {
    writeFileSync(join(landing.origin, `holes-${at}`), 'x');
    truncateSync(join(landing.origin, `holes-${at}`), 512 * 1024 * 1024);
  }
  await landing.run('inspect_dataset', { kwargs: { digests: false } });
  const stop = new AbortController();
  const running = landing.run('archive_dataset', {
    signal: stop.signal,
    onProgress: (name, done) => {
      if (name === 'archive' && done > 0) stop.abort(new Error('paused'));
    },
  });
  await expect(running).rejects.toThrow();
  expect(stop.signal.aborted).toBe(true);
  expect(below(landing, '-name', '*.tar', '-o', '-name', '*.partial-*')).toEqual([]);
  expect(readdirSync(landing.origin)).toHaveLength(7);
  expect(statSync(landing.origin).isDirectory()).toBe(true);
});
