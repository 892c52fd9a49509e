import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { createLogger } from '../../workers/log.ts';
import { openStore } from '../../workers/store.ts';
import { buildWorkflow } from '../../workers/workflows/definition.ts';
import { createEngine } from '../../workers/workflows/engine.ts';
import { makePlace } from '../support/place.ts';
import { runScript, startScript } from '../support/script.ts';
import { onTerminal } from '../support/terminal.ts';
import { until } from '../support/until.ts';

/** Two datasets: `failed`, whose inspection failed for want of space, and `waiting`, in the queue. No worker. */
async function setUp() {
  // Each command is a process of its own, and on a busy machine two of them take longer than the test's usual lock lasts.
  const place = await makePlace({ workflow: { resume_lock_seconds: 600 } });
  const store = await openStore(place.config);
  const log = createLogger('test', {}, { level: 'silent' });
  const engine = await createEngine({ config: place.config, store, log });
  onTestFinished(async () => {
    await engine.close();
    await store.close();
  });
  const ids: number[] = [];
  const workflows: string[] = [];
  for (const name of ['failed', 'waiting']) {
    mkdirSync(join(place.dir('origin'), name));
    const item = {
      name,
      type: 'RAW_DATA',
      origin_path: place.path('origin', name),
      create_method: 'TEST' as const,
    };
    const [answer] = await store.catalog.register([{ dataset: item }], 'test');
    if (answer?.outcome !== 'created') throw new Error('not registered');
    ids.push(answer.dataset.id);
    const { id } = await engine.start('integrated', { dataset_id: answer.dataset.id, initiator: 'test' });
    workflows.push(id);
  }
  const [failing = '', waiting = ''] = workflows;
  const claim = { workflow_id: failing, index: 0, worker: 'w1@host', host: 'host' };
  const verdict = await store.records.claim(claim, { max_losses: 3 });
  if (verdict.verdict !== 'run') throw new Error(`not claimed: ${verdict.verdict}`);
  const started = { workflow_id: failing, step: 'await stability', task_id: verdict.key.task_id };
  const process_id = await store.records.registerProcess({
    ...started,
    pid: 1,
    hostname: 'host',
    start_time: new Date().toISOString(),
    tags: { args: ['fastqc'] },
  });
  await store.records.appendLogs(process_id, [
    { timestamp: new Date().toISOString(), level: 'stdout', message: 'Analysis complete' },
    { timestamp: new Date().toISOString(), level: 'stderr', message: 'two\nlines' },
  ]);
  await store.records.finish(verdict.key, {
    outcome: 'failure',
    error: {
      code: 'E_NO_SPACE',
      class: 'operator',
      message: 'need 3 TiB, have 1 TiB',
      hint: 'Free the missing space.',
      fields: {},
      traceback: '',
    },
  });
  const run = (...args: string[]) => runScript('longshore.ts', args, place.env);
  const json = async (...args: string[]) =>
    JSON.parse((await run(...args, '--json')).stdout) as Record<string, unknown>;
  return { place, store, engine, run, json, failing, waiting, ids };
}

describe('the operator’s command line', () => {
  test('show lists what a failure names one by one, up to twenty', async () => {
    const { store, run, waiting } = await setUp();
    const claim = { workflow_id: waiting, index: 0, worker: 'w1@host', host: 'host' };
    const verdict = await store.records.claim(claim, { max_losses: 3 });
    if (verdict.verdict !== 'run') throw new Error(`not claimed: ${verdict.verdict}`);
    const problems = Array.from({ length: 30 }, (_, at) => [`p${at}`, 'cannot be read']);
    await store.records.finish(verdict.key, {
      outcome: 'failure',
      error: {
        code: 'E_INSPECTION',
        class: 'operator',
        message: '1200 entries cannot be archived, first "p0": cannot be read',
        hint: 'Make every listed entry readable.',
        fields: { total: 1200, problems },
        traceback: '',
      },
    });
    for (const what of ['waiting', waiting]) {
      const { stdout } = await run('show', what);
      expect(stdout.match(/^ {2}"p\d+": cannot be read$/gm)).toHaveLength(20);
      expect(stdout).toContain('  and 1,180 more\n');
    }
  });

  test('status counts everything, says that no worker runs, and lists what waits for a person', async () => {
    const { run, json, failing } = await setUp();
    const shown = await run('status');
    expect(shown.code).toBe(0);
    expect(shown.stdout).toContain('1 PENDING, 0 STARTED, 0 SUCCESS, 1 FAILURE, 0 REVOKED');
    expect(shown.stdout).toContain('No worker is there, so nothing runs.');
    expect(shown.stdout).toMatch(new RegExp(`${failing}.*failed.*E_NO_SPACE +need 3 TiB, have 1 TiB`));
    expect(await json('status')).toMatchObject({
      workers: [],
      datasets: { total: 2 },
      needs_a_person: [{ id: failing }],
    });
  });

  test('status without Redis still tells what the records know, and ends with code 5', async () => {
    const { place } = await setUp();
    const env = { ...place.env, REDIS_URL: 'redis://127.0.0.1:1' };
    const shown = await runScript('longshore.ts', ['status'], env);
    expect(shown.code).toBe(5);
    expect(shown.stdout).toContain('E_REDIS_UNAVAILABLE');
    expect(shown.stdout).toContain('1 FAILURE');
  });

  test('datasets and workflows are listed and filtered', async () => {
    const { json, run, waiting } = await setUp();
    expect(await json('datasets', '--name', 'wait')).toMatchObject({
      count: 1,
      datasets: [{ name: 'waiting' }],
    });
    expect(await json('datasets', '--state', 'archived')).toMatchObject({ datasets: [] });
    expect(await json('datasets', '--state', 'registered', '--limit', '1')).toMatchObject({
      count: 2,
      datasets: [{ name: 'waiting' }],
    });
    expect(await run('datasets', '--state', 'nope')).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('expected one of REGISTERED, READY'),
    });
    expect(await run('datasets', '--limit', '999999999999')).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('from 1 to 9999999'),
    });
    expect(await json('workflows', '--status', 'active')).toMatchObject({
      count: 1,
      workflows: [{ id: waiting }],
    });
    expect((await run('workflows', '--dataset', 'waiting')).stdout).toContain('1/6 await stability');
    const first = (await run('workflows', '--limit', '1')).stdout;
    expect(first).toContain('\n1 of 2 workflows, 1 more: --limit N or --all\n');
    expect((await run('workflows', '--all')).stdout).toContain('\n2 workflows\n');
  });

  test('show finds a dataset by id and by name, and a workflow with its tries, reasons and hints', async () => {
    const { run, json, store, failing, ids } = await setUp();
    expect(await json('show', String(ids[0]))).toMatchObject({ dataset: { name: 'failed' } });
    await store.catalog.patch(ids[0] ?? 0, { metadata: { project_id: 'p7', reads: { r1: 2 } } });
    const dataset = (await run('show', 'failed')).stdout;
    expect(dataset).toMatch(/^content +not inspected yet$/m);
    expect(dataset).toMatch(/^metadata +project_id: p7\n +reads: \{"r1":2\}$/m);
    expect(dataset).toContain(failing);
    expect(dataset).toContain(
      `\n${failing.slice(0, 8)} integrated, await stability: E_NO_SPACE: need 3 TiB, have 1 TiB\nFree the missing space.`,
    );
    const shown = (await run('show', failing)).stdout;
    expect(shown).toMatch(/await stability\s+await_stability\s+FAILURE\s+1\s+1/);
    expect(shown).toContain('E_NO_SPACE: need 3 TiB, have 1 TiB\nFree the missing space.');
  });

  test('the beginning of a workflow’s id is enough where it is the only one of it', async () => {
    const { run, store, place, failing } = await setUp();
    const short = failing.slice(0, 8);
    expect((await run('show', short)).stdout).toContain(failing);
    expect((await run('logs', short)).stdout).toContain('Analysis complete');
    const other = buildWorkflow(place.config, 'integrated', { dataset_id: 1, initiator: 'test' });
    const twin = failing.slice(0, -1) + (failing.endsWith('0') ? '1' : '0');
    await store.records.createWorkflow({ ...other, id: twin });
    expect(await run('resume', failing.slice(0, -1))).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(new RegExp(`begins several workflows: .*${twin}`)),
    });
    expect(await run('show', failing)).toMatchObject({ code: 0 });
    expect(await run('show', failing.slice(0, 7))).toMatchObject({ code: 3 });
  });

  test('logs prints each line once, control characters escaped, and as lines of JSON', async () => {
    const { run, failing } = await setUp();
    const text = (await run('logs', failing, '--follow')).stdout.trimEnd().split('\n');
    expect(text.map((line) => line.slice(25))).toEqual([
      'await stability: Analysis complete',
      String.raw`await stability: two\nlines`,
    ]);
    const lines = (await run('logs', 'failed', '--json')).stdout.trimEnd().split('\n');
    expect(lines.map((line) => (JSON.parse(line) as { message: string }).message)).toEqual([
      'Analysis complete',
      'two\nlines',
    ]);
  });

  test('a number that is the id of one dataset and the name of another is refused until it is said which', async () => {
    const { place, store, run, json, ids } = await setUp();
    const [first = 0] = ids;
    const item = {
      name: String(first),
      type: 'RAW_DATA',
      origin_path: place.dir('origin', 'numbered'),
      create_method: 'TEST' as const,
    };
    const [answer] = await store.catalog.register([{ dataset: item }], 'test');
    if (answer?.outcome !== 'created') throw new Error('not registered');
    const { id } = answer.dataset;
    for (const command of [['show'], ['delete', '--dry-run']]) {
      const refused = await run(...command, String(first));
      expect(refused).toMatchObject({
        code: 2,
        stderr: expect.stringContaining(`Say id:${first} or name:${first}`),
      });
      expect(refused.stderr).toContain(
        `the id of dataset ${first} (failed) and the name of dataset ${id} (RAW_DATA)`,
      );
    }
    expect(await json('show', `id:${first}`)).toMatchObject({ dataset: { id: first } });
    expect(await json('show', `name:${first}`)).toMatchObject({ dataset: { id } });
    // Nobody else has that number: it can only be meant as a name.
    await store.catalog.patch(id, { name: '4711' });
    expect(await json('show', '4711')).toMatchObject({ dataset: { id } });
    expect(await json('show', String(first))).toMatchObject({ dataset: { id: first } });
  });

  test('revoke dismisses what has failed: it waits for nobody any more, until it fails again', async () => {
    const { store, run, json, failing } = await setUp();
    const failed_at = (await store.records.workflowWithRuns(failing))?.last_runs[0]?.date_done;
    const revoked = await run('revoke', failing);
    expect(revoked).toMatchObject({ code: 0, stdout: expect.stringMatching(/^dismissed .*stays FAILURE/) });
    expect(await json('revoke', failing)).toMatchObject({ paused: false, dismissed: true });
    expect(await json('status')).toMatchObject({ workflows: { FAILURE: 1 }, failed: 0, needs_a_person: [] });
    expect((await run('status')).stdout).not.toContain('Waiting for a person');
    expect((await store.records.workflowWithRuns(failing))?.last_runs[0]?.date_done).toBe(failed_at);
    expect((await run('resume', failing)).code).toBe(0);
    expect((await store.records.workflow(failing))?.revoked_at).toBeNull();
  });

  test('pause, resume and revoke change the workflow and refuse what does not apply', async () => {
    const { run, engine, store, waiting, failing } = await setUp();
    expect((await run('pause', 'waiting', '--dry-run')).stdout).toContain(`would pause ${waiting}`);
    expect((await engine.show(waiting)).status).toBe('PENDING');
    expect((await run('pause', 'waiting')).stdout).toContain(`paused ${waiting} at step "await stability"`);
    expect((await engine.show(waiting)).status).toBe('REVOKED');
    expect(await run('pause', waiting)).toMatchObject({
      code: 4,
      stderr: expect.stringContaining('E_WORKFLOW_STATE'),
    });
    expect(await run('resume', failing)).toMatchObject({
      code: 0,
      stdout: expect.stringContaining('resumed'),
    });
    expect(await run('resume', failing)).toMatchObject({ code: 4 });
    expect(await run('revoke', waiting)).toMatchObject({ code: 0 });
    expect((await store.records.workflow(waiting))?.revoked_at).not.toBeNull();
  });

  test('a dry run is refused where the command would be', async () => {
    const { run, failing, waiting } = await setUp();
    expect(await run('resume', failing, '--dry-run')).toMatchObject({ code: 0 });
    expect(await run('resume', waiting, '--dry-run', '--force')).toMatchObject({ code: 0 });
    for (const refused of [
      ['pause', failing],
      ['resume', waiting],
    ])
      expect(await run(...refused, '--dry-run')).toMatchObject({
        code: 4,
        stderr: expect.stringContaining('there is nothing to'),
      });
  });

  test('of several ids each is tried; each has a line or an entry, and the code tells that one failed', async () => {
    const { run, json, engine, failing, waiting } = await setUp();
    const tried = await run('resume', 'nobody', 'failed', 'waiting', 'failed');
    expect(tried).toMatchObject({
      code: 1, // not found, and not possible
      stdout: `resumed ${failing} at step "await stability"\n`,
    });
    expect(tried.stderr.split('\n')).toEqual([
      'nobody: E_DATASET_NOT_FOUND: there is no dataset "nobody"',
      `waiting: E_WORKFLOW_STATE: workflow ${waiting} is PENDING; there is nothing to resume`,
      'Check the id with `npx longshore datasets`.',
      'It is at work. With --force the step that runs is given up and started anew.',
      '2 of 3 failed',
      '',
    ]);
    expect(await json('pause', 'waiting', 'nobody')).toEqual({
      workflows: [
        expect.objectContaining({ given: 'waiting', workflow_id: waiting, paused: true }),
        { given: 'nobody', error: expect.objectContaining({ code: 'E_DATASET_NOT_FOUND' }) },
      ],
    });
    expect((await engine.show(waiting)).status).toBe('REVOKED');
    expect(await run('revoke', 'nobody', 'nothing')).toMatchObject({ code: 3 });
    expect(await run('revoke', 'waiting', failing)).toMatchObject({ code: 0, stderr: '' });
    const shown = await run('show', 'waiting', failing, 'nobody');
    expect(shown).toMatchObject({ code: 3, stderr: expect.stringContaining('1 of 3 failed') });
    expect(shown.stdout).toMatch(new RegExp(`^dataset[^]*\n\nworkflow +${failing}\n`));
  });

  test('stage and qc refuse at once what cannot work, and say what comes first', async () => {
    const { run, engine } = await setUp();
    expect(await run('stage', 'failed')).toMatchObject({
      code: 4,
      stderr: expect.stringMatching(/E_NOT_ARCHIVED.*\n.*longshore start integrated/),
    });
    expect(await run('qc', 'failed')).toMatchObject({
      code: 4,
      stderr: expect.stringContaining('longshore stage'),
    });
    expect((await engine.list({})).metadata.total).toBe(2);
  });

  test('delete asks for --yes where nobody can be asked, and a dry run starts nothing', async () => {
    const { run, engine } = await setUp();
    expect(await run('delete', 'failed')).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('--yes'),
    });
    expect(await run('delete', 'failed', '--dry-run')).toMatchObject({
      code: 0,
      stdout: expect.stringContaining('(stays)'),
    });
    expect((await engine.list({})).metadata.total).toBe(2);
    const started = await run('delete', 'failed', '--yes');
    expect(started).toMatchObject({ code: 0, stderr: expect.stringContaining('No worker') });
    expect((await engine.list({ name: 'delete' })).metadata.total).toBe(1);
  });

  test.each([
    ['Ctrl-C', '\u0003'],
    ['Ctrl-D', '\u0004'],
  ])('%s instead of the name deletes nothing and says so', async (_name, key) => {
    const { place, engine } = await setUp();
    const { code, text } = await onTerminal('longshore.ts', ['delete', 'failed'], place.env, {
      after: 'to delete it:',
      type: key,
    });
    expect(text).toContain('E_REVOKED: stopped before the name was typed; nothing was deleted');
    expect(text).not.toContain('AbortError');
    expect(code).toBe(130);
    expect((await engine.list({})).metadata.total).toBe(2);
  });

  test('Ctrl-C while a workflow is followed leaves it at work, and is no success', async () => {
    const { place, json } = await setUp();
    const following = startScript('longshore.ts', ['archive', 'failed', '--follow'], place.env);
    await until(() => following.stdout().includes('failed: archive ('), { what: 'the workflow to be shown' });
    following.kill('SIGINT');
    expect(await following.ended).toMatchObject({
      code: 130,
      stdout: expect.stringMatching(/it goes on; see `npx longshore show [0-9a-f-]{36}`\n$/),
    });
    expect(await json('workflows', '--dataset', 'failed', '--status', 'ACTIVE')).toMatchObject({ count: 1 });
  });

  test('the name of a folder that is recorded under another one is refused with that one', async () => {
    const { run, store } = await setUp();
    const dataset = {
      name: 'run 1 (old)',
      type: 'RAW_DATA',
      origin_path: '/x',
      create_method: 'TEST' as const,
    };
    await store.catalog.register([{ dataset }], 'test');
    expect(await run('show', 'run 1 (old)')).toMatchObject({
      code: 3,
      stderr: expect.stringContaining('A folder of this name is recorded as run-1-old-.'),
    });
    expect(await run('show', 'run 2 (old)')).toMatchObject({
      code: 3,
      stderr: expect.stringContaining('longshore datasets'),
    });
  });

  test('what is not there, and what is not a command, ends with its own code', async () => {
    const { run, json } = await setUp();
    expect(await run('show', '4711')).toMatchObject({
      code: 3,
      stderr: expect.stringContaining('E_DATASET_NOT_FOUND'),
    });
    expect(await run('show', '00000000-0000-4000-8000-000000000000')).toMatchObject({ code: 3 });
    expect(await json('show', 'nobody')).toMatchObject({ error: { code: 'E_DATASET_NOT_FOUND' } });
    expect(await run('start', 'frobnicate', 'failed')).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('integrated'),
    });
    const { stderr } = await run('show', '\u001b[31mred\u0007');
    expect(stderr).toContain(String.raw`there is no dataset "\u001b[31mred\u0007"`);
    expect(await run('frobnicate')).toMatchObject({ code: 2 });
    expect(await run('show')).toMatchObject({ code: 2 });
    expect(await run('show', '-dash')).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('show -- -name'),
    });
    expect((await run('--version')).stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
    expect(await run('--help')).toMatchObject({ code: 0, stdout: expect.stringContaining('Exit codes') });
  });

  test.each([
    ['status'],
    ['datasets'],
    ['workflows', '--json'],
    ['show', 'run_17'],
    ['fixity'],
    ['delete', 'run_17', '--dry-run'],
    ['pin', 'run_17'],
    ['fleet'],
    ['purge-stale-workflows', '--dry-run'],
  ])('%s %s where no catalog is says so and what to do, and makes none', async (...args) => {
    const place = await makePlace();
    const home = place.path('mistyped');
    const { code, stdout, stderr } = await runScript('longshore.ts', args, {
      ...place.env,
      LONGSHORE_HOME: home,
    });
    expect(code).toBe(3);
    expect(stdout + stderr).toContain(`there is no catalog at ${home}/longshore.db`);
    expect(stdout + stderr).toContain('LONGSHORE_HOME');
    expect(existsSync(home)).toBe(false);
  });

  test('tasks lists every task; one that cannot be loaded says why', async () => {
    const { place } = await setUp();
    writeFileSync(join(place.dir('tasks'), 'broken_one.ts'), 'export const nothing = 1;\n');
    writeFileSync(join(place.path('tasks'), 'slip.ts'), 'export const one = 1;\nexport const task = [1;\n');
    writeFileSync(join(place.path('tasks'), 'early.ts'), '\n\nthrow new Error("too early");\n');
    writeFileSync(join(place.path('tasks'), 'lost.ts'), "import './no-such-file.ts';\n");
    const env = { ...place.env, LONGSHORE_TASKS_PATH: place.path('tasks') };
    const { stdout } = await runScript('longshore.ts', ['tasks'], env);
    expect(stdout).toMatch(/archive_dataset\s+\S/);
    expect(stdout).toMatch(/broken_one\s+cannot be loaded: .*does not export a task/);
    expect(stdout).toMatch(/slip\s+cannot be loaded: \/\S+\/slip\.ts:2: Expected/);
    expect(stdout).toMatch(/early\s+cannot be loaded: \/\S+\/early\.ts:3(:\d+)?: too early/);
    expect(stdout).toMatch(/lost\s+cannot be loaded: Cannot find .*no-such-file\.ts.* from .*lost\.ts/);
  });
});

test('in a shell that names no cache, all code but the first file comes compiled from the cache of the checkout', async () => {
  const env = { NODE_COMPILE_CACHE: undefined, NODE_DEBUG_NATIVE: 'COMPILE_CACHE', LONGSHORE_DOTENV: 'none' };
  await runScript('longshore.ts', ['--version'], env);
  const { stdout, stderr } = await runScript('longshore.ts', ['--version'], env);
  const found = `${stdout}${stderr}`.matchAll(
    /transpile cache for \w+ file:\S+\/(\w+\/[\w-]+\.ts)\.\.\.(\w+)/g,
  );
  const answers = Object.fromEntries([...found].map(([, file, answer]) => [file, answer]));
  expect(answers).toMatchObject({ 'cli/main.ts': 'success', 'cli/program.ts': 'success' });
  expect(new Set(Object.values(answers))).toEqual(new Set(['success']));
});
