import { execFileSync } from 'node:child_process';
import { renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { type Fleet, makeFleet, type WorkerHandle } from '../support/fleet.ts';
import { until } from '../support/until.ts';

const fixture = join(import.meta.dirname, '../fixtures/hang.ts');

/** A worker with a running step, and a way to hang it. */
async function hangable(hang_seconds: number): Promise<{
  fleet: Fleet;
  worker: WorkerHandle;
  id: string;
  hang: (how: string) => void;
  go: () => void;
}> {
  const fleet = await makeFleet({
    fleet: { hang_seconds },
    // Longer than the test: the job comes back because its worker died, not because its lock ran out.
    queue: { lock_seconds: 600, stalled_check_seconds: 300 },
  });
  const file = fleet.place.path('hang');
  const worker = await fleet.worker({ NODE_OPTIONS: `--import=file://${fixture}`, TEST_HANG_FILE: file });
  const go = fleet.place.path('go');
  const id = await fleet.start({ one: { until_file: go } });
  await until(() => fleet.events('start')[0]);
  const hang = (how: string): void => {
    writeFileSync(`${file}.new`, how);
    renameSync(`${file}.new`, file);
  };
  return { fleet, worker, id, hang, go: () => writeFileSync(go, '') };
}

test('a worker in an endless loop is killed with the place where it hangs, and its job runs elsewhere', async () => {
  const { fleet, worker, id, hang, go } = await hangable(2);
  await fleet.worker();
  hang('loop');
  expect(await worker.exited).toEqual({ code: null, signal: 'SIGKILL' });
  expect(worker.log()).toContain('the event loop hangs');
  expect(worker.log()).toMatch(/hangsHere file:.*hang\.ts:7/);
  await until(() => fleet.events('start').length === 2, { what: 'the step to run again' });
  go();
  const done = await fleet.reaches(id, 'SUCCESS');
  expect(done.steps[0]?.last_task_run).toMatchObject({ retries: 0 });
});

test('a worker that waits for a file system is killed with the call that it waits in', async () => {
  const { fleet, worker, hang } = await hangable(2);
  const pipe = fleet.place.path('pipe');
  execFileSync('mkfifo', [pipe]);
  hang(pipe);
  expect(await worker.exited).toEqual({ code: null, signal: 'SIGKILL' });
  expect(worker.log()).toMatch(/"system_call":\{"state":"S \(sleeping\)"/);
});

test('a worker that stood still as a whole is not taken for one that hangs', async () => {
  const { fleet, worker, id, go } = await hangable(3);
  worker.kill('SIGSTOP');
  const stopped = Date.now();
  await until(() => Date.now() > stopped + 5_000, { what: 'more than the limit' });
  worker.kill('SIGCONT');
  const woken = Date.now();
  await until(() => Date.now() > woken + 4_000, { what: 'some looks of the watch' });
  go();
  await fleet.reaches(id, 'SUCCESS');
  expect(worker.log()).not.toContain('the event loop hangs');
});
