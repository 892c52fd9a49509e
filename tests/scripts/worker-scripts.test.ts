import { writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { expect, test } from 'vitest';
import { makeFleet } from '../support/fleet.ts';
import { runScript, startScript } from '../support/script.ts';
import { until } from '../support/until.ts';

async function busyFleet() {
  const fleet = await makeFleet();
  const worker = await fleet.worker();
  const go = fleet.place.path('go');
  const id = await fleet.start({ hold: { until_file: go }, after: {} });
  await until(() => fleet.events('start').length === 1);
  const shutdown = (...args: string[]) =>
    runScript('shutdown_worker.ts', ['--hostname', `${hostname()}:${worker.pid}`, ...args], fleet.place.env);
  const running = async (): Promise<number> => {
    const { stdout } = await shutdown('--dry-run', '--json');
    return (JSON.parse(stdout) as { workers: { running: number }[] }).workers[0]?.running ?? 0;
  };
  await until(async () => (await running()) === 1, { what: 'its registry entry to show the job' });
  return { ...fleet, child: worker, go, id, shutdown };
}

test('a graceful shutdown lets the job end and takes no other; the process ends and stays down', async () => {
  const fleet = await busyFleet();
  const { shutdown, child, go, id, engine } = fleet;
  const told = await shutdown('--queues', 'longshore-test.q', '--no-immediate', '--json');
  expect(told.code).toBe(0);
  expect(JSON.parse(told.stdout)).toMatchObject({
    immediate: false,
    workers: [{ outcome: 'leaving', running: 1, revoked: [] }],
  });
  writeFileSync(go, '');
  expect(await child.exited).toEqual({ code: 79, signal: null });
  expect(fleet.events('end', 'hold')).toHaveLength(1);
  expect(fleet.events('start', 'after')).toHaveLength(0);
  expect((await engine.show(id)).steps.map(({ status }) => status)).toEqual(['SUCCESS', 'PENDING']);
});

test('while an immediate shutdown revokes what runs, its worker takes no other job', async () => {
  const fleet = await makeFleet({ autoscale: { min: 1, max: 1 } });
  const worker = await fleet.worker();
  const id = await fleet.start({ hold: { until_file: fleet.place.path('never') } });
  await until(() => fleet.events('start').length === 1);
  const waiting = await fleet.start({ next: {} });
  const shutdown = (...args: string[]) => runScript('shutdown_worker.ts', args, fleet.place.env);
  const told = await shutdown('--hostname', `${hostname()}:${worker.pid}`, '--immediate', '--json');
  expect(JSON.parse(told.stdout)).toMatchObject({ workers: [{ revoked: [id] }] });
  expect(await worker.exited).toEqual({ code: 79, signal: null });
  expect(fleet.events('start', 'next')).toEqual([]);
  expect((await fleet.engine.show(waiting)).status).toBe('PENDING');
});

test('queues alone mean their workers on all hosts', async () => {
  const fleet = await makeFleet();
  const worker = await fleet.worker();
  const shutdown = (...args: string[]) => runScript('shutdown_worker.ts', args, fleet.place.env);
  expect((await shutdown('--queues', 'tape.q')).code).toBe(2);
  const told = await shutdown('--queues', 'tape.q', 'longshore-test.q', '--json');
  expect(told.code).toBe(0);
  expect(JSON.parse(told.stdout)).toMatchObject({
    workers: [{ worker: expect.stringContaining(`${hostname()}:${worker.pid}`) }],
  });
  expect(await worker.exited).toEqual({ code: 79, signal: null });
});

test('an immediate shutdown revokes what runs, so that no other worker takes it up; resume goes on with it', async () => {
  const fleet = await busyFleet();
  const { shutdown, child, go, id, engine } = fleet;
  const told = await shutdown('--immediate', '--until-gone', '30', '--json');
  expect(JSON.parse(told.stdout)).toMatchObject({ workers: [{ outcome: 'gone', revoked: [id] }] });
  expect(told.code).toBe(0);
  expect(await child.exited).toEqual({ code: 79, signal: null });
  expect((await engine.show(id)).status).toBe('REVOKED');
  await fleet.worker();
  writeFileSync(go, '');
  expect((await engine.show(id)).status).toBe('REVOKED');
  expect((await engine.resume(id, { actor: 'test' })).resumed).toBe(true);
  await fleet.reaches(id, 'SUCCESS');
});

test('a dry run tells nobody; a host or a queue that nobody has is refused', async () => {
  const fleet = await busyFleet();
  const { shutdown, place, go, id } = fleet;
  const dry = await shutdown('--immediate', '--dry-run');
  expect(dry.stdout).toMatch(/would end .* and revoke \d jobs? \(dry run/);
  expect(await shutdown('--queues', 'tape.q')).toMatchObject({ code: 2 });
  expect((await runScript('shutdown_worker.ts', ['--hostname', 'nowhere'], place.env)).code).toBe(5);
  const nobody = await runScript('shutdown_worker.ts', ['--json'], place.env);
  expect(nobody.code).toBe(2);
  expect(JSON.parse(nobody.stdout)).toMatchObject({
    error: { code: 'E_USAGE', message: 'no worker was named; expected --hostname, --queues or both' },
  });
  writeFileSync(go, '');
  await fleet.reaches(id, 'SUCCESS');
});

test('start_worker becomes a worker with the slots that were asked for, and ends in good order with SIGTERM', async () => {
  const fleet = await makeFleet();
  const dry = await runScript('start_worker.ts', ['--dry-run', '--autoscale', '8,3'], fleet.place.env);
  expect(dry.stdout).toContain('longshore-test.q with 3 to 8 slots');
  expect((await runScript('start_worker.ts', ['--autoscale', '3,8'], fleet.place.env)).code).toBe(2);
  const started = startScript('start_worker.ts', ['--autoscale', '2,1'], {
    ...fleet.place.env,
    LOG_LEVEL: 'info',
    LONGSHORE_TASKS_PATH: new URL('../fixtures/tasks', import.meta.url).pathname,
  });
  const id = await fleet.start({ a: {} });
  await fleet.reaches(id, 'SUCCESS');
  expect(started.stdout() + started.stderr()).toMatch(/"max":2/);
  const [attempt] = await fleet.store.records.attempts(
    (await fleet.engine.show(id)).steps[0]?.last_task_run?._id ?? '',
  );
  expect(attempt?.worker).toContain(`:${started.pid}`);
  started.kill('SIGTERM');
  expect(await started.ended).toMatchObject({ code: 0, signal: null });
});
