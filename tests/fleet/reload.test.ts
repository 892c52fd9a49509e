import { appendFileSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { lookNowAndThen } from '../../workers/fleet/reload/look.ts';
import { createLogger } from '../../workers/log.ts';
import { startEmbeddedRedis } from '../../workers/queue/embedded.ts';
import { copyCheckout, makeFleet, type WorkerHandle } from '../support/fleet.ts';
import { makePlace } from '../support/place.ts';
import { runScript } from '../support/script.ts';
import { makeSteerer } from '../support/steer.ts';
import { until } from '../support/until.ts';

const root = join(import.meta.dirname, '../..');

async function watched(reload: Record<string, unknown>, env: Record<string, string> = {}) {
  const fleet = await makeFleet({ reload });
  const checkout = copyCheckout(fleet.place);
  const worker = await fleet.worker(env, checkout);
  return { fleet, worker, file: (name: string) => join(checkout, name) };
}

const says = (worker: WorkerHandle, what: string) =>
  until(() => worker.log().includes(what), { what: `the worker to say "${what}"` });
const starts = (worker: WorkerHandle): number => worker.log().split('"worker ready"').length - 1;

test('a worker whose code changes restarts when its last job has ended, as the same process, and no try is lost', async () => {
  const { fleet, worker, file } = await watched({ watch: 'all' });
  const go = fleet.place.path('go');
  const id = await fleet.start({ one: { until_file: go }, two: {} });
  await until(() => fleet.events('start')[0]);
  appendFileSync(file('workers/fleet/slots.ts'), '\n// changed\n');
  await says(worker, 'restarts when it is idle');
  expect(starts(worker)).toBe(1);
  writeFileSync(go, '');
  await until(() => starts(worker) === 2, { what: 'the worker to start again' });
  await fleet.reaches(id, 'SUCCESS');
  expect(worker.log()).toContain('workers/fleet/slots.ts changed');
  expect(fleet.events('start').map(({ step }) => step)).toEqual(['one', 'two']);
  const { workers } = await fleet.engine.fleet();
  expect(workers.map(({ name }) => name)).toEqual([expect.stringContaining(`:${worker.pid}`)]);
});

test('a worker that cannot close, because Redis hangs, starts again all the same, and works when it answers', async () => {
  const fleet = await makeFleet({ reload: { watch: 'all' }, queue: { url: null } });
  const redis = await startEmbeddedRedis(fleet.place.path('redis'));
  onTestFinished(() => redis.stop());
  const checkout = copyCheckout(fleet.place);
  const worker = await fleet.worker({}, checkout);
  onTestFinished(() => void process.kill(redis.pid, 'SIGCONT'));
  process.kill(redis.pid, 'SIGSTOP');
  appendFileSync(join(checkout, 'workers/fleet/slots.ts'), '\n// changed\n');
  await says(worker, 'the shutdown was cut off');
  process.kill(redis.pid, 'SIGCONT');
  await until(() => starts(worker) === 2, { what: 'the worker to start again' });
  await fleet.reaches(await fleet.start({ one: {} }), 'SUCCESS');
});

test('a half-saved file takes no worker down: it says what is wrong, goes on, and restarts when the file is whole', async () => {
  const { fleet, worker, file } = await watched({ watch: 'all' });
  const slots = file('workers/fleet/slots.ts');
  const whole = readFileSync(slots, 'utf8');
  writeFileSync(slots, whole.slice(0, whole.length / 2));
  await says(worker, 'changed code does not hold');
  await fleet.reaches(await fleet.start({ one: {} }), 'SUCCESS');
  writeFileSync(file('config/local.ts'), 'export const config = { autoscale: { min: "two" } };');
  writeFileSync(slots, `${whole}\n// changed\n`);
  await until(() => starts(worker) === 2, { what: 'the worker to start again' });
  await fleet.reaches(await fleet.start({ two: {} }), 'SUCCESS');
});

test('a job that meets a half-saved file of the engine waits for the whole one, and is not blamed', async () => {
  const { fleet, worker, file } = await watched({ watch: 'tasks' });
  const errors = file('workers/errors.ts');
  const whole = readFileSync(errors, 'utf8');
  writeFileSync(errors, whole.slice(0, whole.length / 2));
  const id = await fleet.start({ one: {} });
  await says(worker, 'the engine could not be loaded');
  writeFileSync(errors, whole);
  const done = await fleet.reaches(id, 'SUCCESS');
  expect(done.steps[0]?.last_task_run).toMatchObject({ losses: 0, retries: 0 });
});

test('a configuration that would stop the start is told, and one that is changed back asks for no restart', async () => {
  const { worker, file } = await watched({ watch: 'all' });
  const overlay = file('config/test.ts');
  const whole = readFileSync(overlay, 'utf8');
  writeFileSync(overlay, whole.replace('schedules: []', 'shedules: []'));
  await says(worker, 'changed code does not hold');
  expect(worker.log()).toMatch(/"problem":"E_CONFIG: [^"]*shedules/);
  writeFileSync(overlay, whole);
  appendFileSync(file('tests/fixtures/tasks/drill.ts'), '\n// changed\n');
  await says(worker, 'the next job uses it');
  expect(starts(worker)).toBe(1);
});

test('where it may not restart itself, and where it is never idle, a worker says that it must be restarted', async () => {
  const calm = await watched({ watch: 'tasks' });
  const steerer = await makeSteerer(calm.fleet);
  appendFileSync(calm.file('workers/queue/jobs.ts'), '\n// changed\n');
  await says(calm.worker, 'must be restarted to use it');
  const due = await until(async () => (await steerer.workers())[0]?.restart_due, { what: 'the registry' });
  expect(due).toMatchObject({ files: ['workers/queue/jobs.ts'], by_itself: false });
  const json = await runScript('longshore.ts', ['fleet', '--json'], calm.fleet.place.env);
  const report = JSON.parse(json.stdout) as { problems: string[]; workers: object[] };
  expect(report.workers).toEqual([expect.objectContaining({ restart_due: due })]);
  expect(report.problems).toEqual([
    expect.stringMatching(/must be restarted: workers\/queue\/jobs\.ts changed/),
  ]);
  const shown = await runScript('longshore.ts', ['fleet'], calm.fleet.place.env);
  expect(shown.stdout).toContain('working, must be restarted');
  const busy = await watched({ watch: 'all', idle_wait_seconds: 0.1 });
  const go = busy.fleet.place.path('go');
  await busy.fleet.start({ one: { until_file: go } });
  await until(() => busy.fleet.events('start')[0]);
  appendFileSync(busy.file('workers/queue/jobs.ts'), '\n// changed\n');
  await says(busy.worker, 'was never idle and still runs old code');
  writeFileSync(go, '');
  await until(() => starts(busy.worker) === 2, { what: 'the worker to start again' });
  expect(starts(calm.worker)).toBe(1);
});

test('where nothing is watched, a change is found by looking now and then, and forgotten when it is taken back', async () => {
  const place = await makePlace();
  const [one, two] = [place.path('one.ts'), place.path('two.ts')];
  writeFileSync(one, '1');
  const looking = lookNowAndThen(
    new Map([
      [one, '1'],
      [two, ''],
    ]),
    createLogger('test', {}, { level: 'silent' }),
    0.02,
  );
  onTestFinished(() => looking.stop());
  writeFileSync(two, 'new');
  const due = await until(() => looking.due, { what: 'the new file to be seen' });
  expect(due).toMatchObject({ files: [relative(root, two)], by_itself: false });
  writeFileSync(one, '2');
  await until(() => looking.due?.files.length === 2, { what: 'the other one' });
  writeFileSync(one, '1');
  rmSync(two);
  await until(() => looking.due === null, { what: 'nothing to be due' });
});

test('a changed .env is configuration: the worker restarts with its values', async () => {
  const fleet = await makeFleet({ reload: { watch: 'all' } });
  const variables = fleet.place.path('variables.env');
  writeFileSync(variables, 'LOG_LEVEL=info\n');
  const worker = await fleet.worker({ LONGSHORE_DOTENV: variables }, copyCheckout(fleet.place));
  writeFileSync(variables, 'LOG_LEVEL=info\nLONGSHORE_OVERRIDES={"autoscale":{"min":0}}\n');
  await says(worker, 'changed code does not hold');
  expect(worker.log()).toContain('autoscale.min');
  writeFileSync(variables, 'LOG_LEVEL=debug\n');
  await until(() => starts(worker) === 2, { what: 'the worker to start again' });
});

test('a configuration that is half edited fails no job: tasks are given the one of their worker', async () => {
  const { fleet, file } = await watched({ watch: 'off' });
  writeFileSync(file('config/test.ts'), 'export const config = {');
  const id = await fleet.start({ one: {} });
  const done = await fleet.reaches(id, 'SUCCESS');
  expect(done.steps[0]?.last_task_run).toMatchObject({ retries: 0, losses: 0 });
});

test('a job that meets code of another release waits for its worker to be restarted, and is not blamed', async () => {
  const { fleet, worker, file } = await watched({ watch: 'off' });
  const messages = file('workers/fleet/isolation/messages.ts');
  const whole = readFileSync(messages, 'utf8');
  const process = file('workers/fleet/isolation/task-attempts.ts');
  // Of a release that ends an attempt with another word: this worker would take its process for lost.
  writeFileSync(process, readFileSync(process, 'utf8').replaceAll("kind: 'over'", "kind: 'finished'"));
  writeFileSync(messages, whole.replace("kind: 'over'", "kind: 'finished'"));
  const id = await fleet.start({ one: {} });
  await says(worker, 'must be restarted to run it');
  expect(fleet.events('start')).toEqual([]);
  const task_id = (await fleet.engine.show(id)).steps[0]?.last_task_run?._id ?? '';
  expect(await fleet.store.records.attempts(task_id)).toContainEqual(
    expect.objectContaining({ outcome: 'postponed', reason: expect.stringContaining('was exchanged') }),
  );
  worker.kill('SIGTERM');
  await worker.exited;
  await fleet.worker();
  const done = await fleet.reaches(id, 'SUCCESS');
  expect(done.steps[0]?.last_task_run).toMatchObject({ losses: 0, retries: 0 });
});
