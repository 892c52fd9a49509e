import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, symlinkSync, utimesSync } from 'node:fs';
import { basename, join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import type { EngineSession } from '../../scripts/cli/session.ts';
import { cleanAll, samplesFolder } from '../../scripts/enqueue-test/clean-up.ts';
import { makeSample } from '../../scripts/enqueue-test/sample.ts';
import { openStore } from '../../workers/store.ts';
import { makePlace, type Place } from '../support/place.ts';
import { runScript, startScript } from '../support/script.ts';
import { until } from '../support/until.ts';

const root = join(import.meta.dirname, '../..');

async function startWorker(place: Place): Promise<void> {
  const worker = spawn(process.execPath, [join(root, 'workers/worker.ts')], {
    env: { ...process.env, ...place.env, LOG_LEVEL: 'info', LOG_FORMAT: 'json' },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let output = '';
  worker.stdout.on('data', (text: Buffer) => (output += text.toString()));
  const ended = new Promise((resolve) => worker.once('exit', resolve));
  onTestFinished(async () => {
    worker.kill('SIGTERM');
    await ended;
  });
  await until(() => output.includes('worker ready'), { what: 'the worker' });
}

test('says at once that no worker is running, waits a little for one, and makes nothing', async () => {
  const place = await makePlace();
  const asked = startScript('enqueue-test.ts', ['--task', 'inspect_dataset'], place.env);
  await until(() => asked.stderr().includes('No worker takes jobs'), { what: 'what is missing' });
  expect(asked.stderr()).not.toContain('E_NO_WORKER');
  const done = await asked.ended;
  expect(done).toMatchObject({ code: 5, stderr: expect.stringMatching(/E_NO_WORKER.*\n.*npm start/) });
  expect(existsSync(place.config.paths.scratch)).toBe(false);
});

test('a worker that comes a moment later, as one that restarts itself for a change, is good enough', async () => {
  const place = await makePlace();
  const args = ['--task', 'inspect_dataset', '--size', '1KB', '--files', '1'];
  // Both at once: the script looks before the worker is ready, and waits no longer than that needs here.
  const asked = startScript('enqueue-test.ts', args, place.env);
  await startWorker(place);
  expect(await asked.ended).toMatchObject({ code: 0, stderr: expect.not.stringContaining('E_NO_WORKER') });
});

test('an unknown task, workflow or size is refused with what there is', async () => {
  const place = await makePlace();
  const run = (...args: string[]) => runScript('enqueue-test.ts', args, place.env);
  expect(await run('--task', 'nope')).toMatchObject({
    code: 2,
    stderr: expect.stringContaining('inspect_dataset'),
  });
  expect(await run('--workflow', 'nope')).toMatchObject({
    code: 2,
    stderr: expect.stringContaining('integrated'),
  });
  expect(await run('--size', 'huge')).toMatchObject({ code: 2 });
  expect(await run('--type', 'NOPE')).toMatchObject({ code: 2 });
  const both = await run('--workflow', 'nope', '--type', 'NOPE');
  expect(both).toMatchObject({ code: 2, stderr: expect.stringMatching(/nope.*; .*NOPE/) });
});

test('runs one task, follows it, prints its result and leaves nothing; a failing one says why and is kept', async () => {
  const place = await makePlace();
  await startWorker(place);
  const good = await runScript(
    'enqueue-test.ts',
    ['--task', 'inspect_dataset', '--size', '100KB', '--files', '4'],
    place.env,
  );
  expect(good).toMatchObject({ code: 0, stderr: '' });
  expect(good.stdout).toMatch(/inspect done in[^]*done in .* result \[1\]/);
  expect(readdirSync(join(place.config.paths.scratch, 'enqueue-test'))).toEqual([]);

  const task = ['--task', 'stage_dataset', '--size', '1KB'];
  const bad = await runScript('enqueue-test.ts', [...task, '--json'], place.env);
  expect(bad.code).toBe(1);
  const answer = JSON.parse(bad.stdout) as { folder: string; dataset_id: number };
  expect(answer).toMatchObject({
    failure: { code: 'E_NOT_ARCHIVED' },
    advice: 'With --prepare the steps that stage_dataset builds on run first.',
    cleaned: false,
  });
  const samples = join(place.config.paths.scratch, 'enqueue-test');
  expect(readdirSync(samples)).toEqual([basename(answer.folder)]);
  const shown = await runScript('enqueue-test.ts', task, place.env);
  expect(shown.stdout).toContain('E_NOT_ARCHIVED');
  expect(shown.stdout).toContain('With --prepare');
  expect(shown.stdout).toMatch(/is kept\. \/.*enqueue-test\/test_.* stays; .*--clean.* removes it/);

  // One of them was deleted as any dataset is, which leaves its folder.
  await runScript('longshore.ts', ['delete', String(answer.dataset_id), '--follow'], place.env);
  const fresh = join(samples, 'being made');
  mkdirSync(fresh);
  const cleaned = await runScript('enqueue-test.ts', ['--clean', '--json'], place.env);
  expect(cleaned.code).toBe(1);
  expect(JSON.parse(cleaned.stdout)).toMatchObject({
    removed: [expect.any(String), expect.any(String)],
    kept: [{ folder: fresh, reason: expect.stringContaining('a moment ago') }],
  });
  expect(readdirSync(samples)).toEqual(['being made']);
  utimesSync(fresh, 0, 0);
  expect((await runScript('enqueue-test.ts', ['--clean'], place.env)).stdout).toContain('1 removed, 0 kept');
  const store = await openStore(place.config);
  onTestFinished(() => store.close());
  expect((await store.catalog.list({})).count).toBe(0);
});

test('Ctrl-C while the sample is made leaves nothing; later it says what stays and how to remove it', async () => {
  const place = await makePlace();
  await startWorker(place);
  const samples = join(place.config.paths.scratch, 'enqueue-test');
  const early = startScript('enqueue-test.ts', ['--size', '4GB', '--files', '1'], place.env);
  await until(() => existsSync(samples) && readdirSync(samples).length === 1, { what: 'the sample' });
  early.kill('SIGINT');
  expect(await early.ended).toMatchObject({ stderr: expect.stringContaining('nothing of it is left') });
  expect(readdirSync(samples)).toEqual([]);

  const args = ['--task', 'await_stability', '--size', '1KB', '--kwargs', '{"recency_threshold": 3600}'];
  const late = startScript('enqueue-test.ts', args, place.env);
  await until(() => late.stdout().includes('await stability started'), { what: 'the step' });
  late.kill('SIGINT');
  const [sample = ''] = readdirSync(samples);
  const { stderr } = await late.ended;
  expect(stderr).toContain(`${join(samples, sample)} stays; \`npm run enqueue-test -- --clean\` removes it`);
  const kept = await runScript('enqueue-test.ts', ['--clean'], place.env);
  expect(kept).toMatchObject({ code: 1, stdout: expect.stringContaining('a workflow works on dataset') });
});

test('a sample without room for it is refused before it is written', async () => {
  const place = await makePlace();
  await startWorker(place);
  const refused = await runScript('enqueue-test.ts', ['--size', '99999TB'], place.env);
  expect(refused).toMatchObject({ code: 1, stderr: expect.stringMatching(/^E_NO_SPACE: .* are needed/m) });
  expect(existsSync(place.config.paths.scratch)).toBe(false);
});

test('nothing stays of a sample that could not be finished', async () => {
  const place = await makePlace();
  const folder = join(place.dir('samples'), 'one');
  const room = { keep: 0, state_dir: place.config.state_dir };
  mkdirSync(join(folder, 'part_2.bin'), { recursive: true });
  await expect(makeSample(folder, { size: 4096, files: 4, fastq: false }, room)).rejects.toThrow('EISDIR');
  expect(existsSync(folder)).toBe(false);

  const stopped = AbortSignal.abort(new Error('by Ctrl-C'));
  const big = { size: 64 * 1024 ** 2, files: 4, fastq: false };
  await expect(makeSample(folder, big, { ...room, signal: stopped })).rejects.toThrow('by Ctrl-C');
  expect(existsSync(folder)).toBe(false);
});

test('lands a whole sample and keeps it when asked', async () => {
  const place = await makePlace();
  await startWorker(place);
  const done = await runScript(
    'enqueue-test.ts',
    ['--size', '200KB', '--files', '3', '--keep', '--json'],
    place.env,
  );
  expect(done.code).toBe(0);
  const { dataset_id, states } = JSON.parse(done.stdout) as { dataset_id: number; states: string[] };
  expect(states.slice(0, 5)).toEqual(['REGISTERED', 'READY', 'ARCHIVED', 'FETCHED', 'STAGED']);
  const store = await openStore(place.config);
  onTestFinished(() => store.close());
  const dataset = await store.catalog.get(dataset_id, { bundle: true });
  expect(dataset).toMatchObject({ is_staged: true, num_files: 3, create_method: 'TEST' });
  expect(existsSync(dataset.staged_path ?? '')).toBe(true);
});

test('what a link in the place of the samples leads to is not cleaned up', async () => {
  const place = await makePlace();
  const store = await openStore(place.config);
  onTestFinished(() => store.close());
  const precious = place.dir('precious/kept');
  utimesSync(precious, 0, 0);
  mkdirSync(place.config.paths.scratch, { recursive: true });
  symlinkSync(place.path('precious'), samplesFolder(place.config));
  const session = { config: place.config, store } as EngineSession;
  expect(await cleanAll(session)).toEqual({ removed: [], kept: [] });
  expect(existsSync(precious)).toBe(true);
});
