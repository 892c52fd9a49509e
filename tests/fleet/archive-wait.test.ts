/** A real worker and tasks, and a tape library that goes away for longer than all retries take. */
import { randomBytes } from 'node:crypto';
import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { LongshoreError, reportOf } from '../../workers/errors.ts';
import { archiveWaitOf, waitForArchive } from '../../workers/fleet/job/archive-wait.ts';
import { type Fleet, makeFleet } from '../support/fleet.ts';
import { runScript } from '../support/script.ts';
import { until } from '../support/until.ts';

const actor = 'tester';
const HSI = join(import.meta.dirname, '../fixtures/bin/hsi');

interface Tape extends Fleet {
  /** Workflow of a dataset that is archived on the tape. */
  readonly id: string;
  control(how: Record<string, unknown>): void;
  /** Of the bundle that is packed for the tape. */
  packed(): string[];
  outcomes(): Promise<(string | null)[]>;
}

async function archiving(overrides: Record<string, unknown>, how: Record<string, unknown>): Promise<Tape> {
  const tape = { kind: 'sda', hsi: HSI, hsi_args: ['--stand-in={home}/hpss'], poll_seconds: 1 };
  const fleet = await makeFleet({
    archive: { copies: ['tape'], backends: { tape }, ...overrides },
    workflow: { retry: { max: 1, delay_seconds: 0.05 } },
  });
  const control: Tape['control'] = (now) =>
    writeFileSync(join(fleet.place.dir('hpss'), 'control.json'), JSON.stringify(now));
  control(how);
  await fleet.worker();
  const dataset_id = await fleet.dataset();
  writeFileSync(fleet.place.path('origin/sample-1/reads'), randomBytes(3_000_000));
  const steps = ['inspect_dataset', 'archive_dataset'].map((task) => ({ name: task, task }));
  const { id } = await fleet.engine.start({ name: 'land', steps }, { initiator: 'test', dataset_id });
  const folder = fleet.place.path('data/bundle/raw_data/generation');
  return {
    ...fleet,
    id,
    control,
    packed: () => (existsSync(folder) ? readdirSync(folder) : []),
    outcomes: async () => {
      const run = (await fleet.engine.show(id)).steps[1]?.last_task_run;
      return (await fleet.store.records.attempts(run?._id ?? '')).map(({ outcome }) => outcome);
    },
  };
}

/** One more than all tries of its retry policy. */
const waitsOn = (tape: Tape) =>
  until(async () => (await tape.outcomes()).filter((one) => one === 'postponed').length > 2, {
    what: 'a third wait for the archive',
  });

test('a workflow outwaits an archive that is away for longer than its retries, with what it has packed', async () => {
  const tape = await archiving({}, { fail: 'put' });
  await waitsOn(tape);
  expect(tape.packed()).not.toEqual([]);
  const run = (await tape.engine.show(tape.id)).steps[1]?.last_task_run;
  expect(run).toMatchObject({
    status: 'STARTED',
    retries: 0,
    result: { code: 'E_ARCHIVE_UNAVAILABLE', waits: expect.stringMatching(/^waits for the archive since 2/) },
  });
  tape.control({});
  await tape.reaches(tape.id, 'SUCCESS');
  expect((await tape.outcomes()).at(-1)).toBe('success');
  expect(tape.packed()).toEqual([]);
  const [attempt] = await tape.store.records.attempts(run?._id ?? '');
  expect(attempt).toMatchObject({
    outcome: 'postponed',
    error: { code: 'E_ARCHIVE_UNAVAILABLE' },
    next_attempt_at: expect.any(String),
  });
});

test('what it waits for is shown, and it can be paused, resumed and revoked meanwhile', async () => {
  const tape = await archiving({}, { away: true });
  await waitsOn(tape);
  // Until the next look at the archive, of which the wait is then longer than a command takes.
  await until(async () => (await tape.outcomes()).filter((one) => one === 'postponed').length > 4, {
    what: 'a longer wait',
  });
  const status = await runScript('longshore.ts', ['status'], tape.place.env);
  expect(status.stdout).toContain('E_ARCHIVE_UNAVAILABLE: A workflow will go on when an archive is back.');
  expect(status.stdout).not.toContain('Waiting for a person');
  const show = await runScript('longshore.ts', ['show', tape.id], tape.place.env);
  expect(show.stdout).toMatch(/postponed +\(\d+ times\) E_ARCHIVE_UNAVAILABLE: hsi ended with code 70/);

  await until(async () => (await tape.engine.pause(tape.id, { actor })).revoked_step !== undefined);
  expect((await tape.engine.show(tape.id)).status).toBe('REVOKED');
  await tape.engine.resume(tape.id, { actor });
  await waitsOn(tape);
  await tape.engine.revoke(tape.id, { actor });
  await until(async () => Object.values((await tape.engine.fleet()).jobs).every((count) => count === 0), {
    what: 'an empty queue',
  });
  tape.control({});
  expect((await tape.engine.show(tape.id)).status).toBe('REVOKED');
  await tape.engine.resume(tape.id, { actor });
  await tape.reaches(tape.id, 'SUCCESS');
});

test('when its patience is over it is tried again as any other, fails, and leaves nothing', async () => {
  const tape = await archiving({ patience_seconds: 0.1 }, { fail: 'put' });
  const failed = await tape.reaches(tape.id, 'FAILURE');
  expect(failed.steps[1]?.last_task_run).toMatchObject({
    retries: 1,
    result: { code: 'E_ARCHIVE_UNAVAILABLE' },
  });
  expect((await tape.outcomes()).toReversed().slice(0, 3)).toEqual(['failure', 'retry', 'postponed']);
  expect(tape.packed()).toEqual([]);
});

test('what is to be done about it is told with the wait, where the place of failure knows', () => {
  const wait = { since: null, looks: 0, patient: true };
  const told = (hint?: string): string | undefined => {
    const away = new LongshoreError('E_ARCHIVE_UNAVAILABLE', 'no mark', hint === undefined ? {} : { hint });
    return waitForArchive(reportOf(away), wait, 1, new Date())?.reason;
  };
  expect(told()).toMatch(/: no mark$/);
  expect(told('Mount it.')).toMatch(/: no mark\. Mount it\.$/);
});

test('a wait begins with the last time that the archive was found away after it had been reached', () => {
  const at = (minute: number): string => new Date(Date.UTC(2026, 0, 1, 12, minute)).toISOString();
  const away = reportOf(new LongshoreError('E_ARCHIVE_UNAVAILABLE', 'away'));
  const other = reportOf(new LongshoreError('E_IO', 'a disk'));
  const ended = (minute: number, outcome: 'postponed' | 'retry', error: typeof away | null) => ({
    outcome,
    error,
    date_start: at(minute),
    date_end: at(minute + 1),
  });
  const before = [ended(0, 'postponed', away), ended(10, 'retry', other)];
  const now = new Date(at(60));
  const attempts = [
    ...before,
    ended(20, 'postponed', away),
    ended(30, 'postponed', null),
    ended(40, 'postponed', away),
  ];
  const running = { outcome: null, error: null, date_start: at(59), date_end: null };
  expect(archiveWaitOf([...attempts, running], 3600, now)).toEqual({
    since: at(21),
    looks: 2,
    patient: true,
  });
  expect(archiveWaitOf([...attempts, running], 39 * 60, now).patient).toBe(false);
  expect(archiveWaitOf(before, 3600, now)).toEqual({ since: null, looks: 0, patient: true });
});
