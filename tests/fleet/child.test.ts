/** How the end of a task's process is understood: what it said, what it was told, and what the kernel says of it. */
import { writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { LongshoreError } from '../../workers/errors.ts';
import { type Attempting, startChild } from '../../workers/fleet/isolation/child.ts';
import { membersOf } from '../../workers/fleet/isolation/process-group.ts';
import { makePlace } from '../support/place.ts';
import { until } from '../support/until.ts';

const HERE = `
  process.on('SIGTERM', () => undefined);
  for (const kind of ['here', 'loaded']) process.send({ kind, code: null, limits: {}, retry: {} });
  const over = (report, stays) => process.send({ kind: 'over', report, stays });
  const leave = () => process.disconnect();`;
const RESULT = `{ kind: 'result', result: [1] }`;

const questions = { lease: async () => null, permit: async () => true, overtaken: () => undefined };
const revoked = new LongshoreError('E_REVOKED', 'paused');

/** A process that runs this instead of a task. */
async function startProgram(code: string): Promise<Attempting> {
  const place = await makePlace();
  const program = place.path('program.mjs');
  writeFileSync(program, code);
  const launch = { command: process.execPath, args: [program] };
  const options = { task: 'drill', task_id: 't', launch, worker: 'w', cache: place.path('cache') };
  return startChild({ ...options, remain: () => undefined }, questions);
}

/** It was told to stop when it had loaded; then it does this. */
async function stopped(answer: string): Promise<Attempting> {
  const child = await startProgram(
    `${HERE} process.on('message', ({ kind }) => { if (kind === 'stop') { ${answer} } });`,
  );
  await child.loaded;
  void child.stop(revoked, 60);
  return child;
}

test('work that was finished when the order to stop came counts, a failure then does not', async () => {
  const finished = await stopped(`over(${RESULT}, false); leave();`);
  expect(await finished.ended).toEqual({ kind: 'result', result: [1] });
  const failed = await stopped(`over({ kind: 'failed', error: { code: 'E_IO' } }, false); leave();`);
  expect(await failed.ended).toEqual({ kind: 'stopped', error: revoked });
});

test('one that would wait for work when it is told to stop is ended at once, and its work counts', async () => {
  const child = await stopped(`over(${RESULT}, true);`);
  expect(await child.ended).toEqual({ kind: 'result', result: [1] });
  expect(await child.stays).toBeNull();
  expect(membersOf(child.pid)).toEqual([]);
});

test('what is left of its process group is gone when an attempt has ended', async () => {
  const child = await startProgram(
    `import { spawn } from 'node:child_process'; ${HERE}
     spawn('sleep', ['60'], { stdio: 'inherit' }).unref();
     over(${RESULT}, false); leave();`,
  );
  expect(await child.ended).toEqual({ kind: 'result', result: [1] });
  expect(membersOf(child.pid)).toEqual([]);
});

test.each([
  ['ends before the engine is loaded', `process.exit(1)`, { kind: 'postponed' }],
  ['is killed before it', `process.kill(process.pid, 'SIGKILL')`, { kind: 'lost', signal: 'SIGKILL' }],
  ['ends without a word after it', `${HERE} process.exit(3)`, { kind: 'lost', signal: null, blame: 1 }],
])('a process that %s', async (_, code, ending) => {
  expect(await (await startProgram(code)).ended).toMatchObject(ending);
});

test('one that dies after it was chosen for an attempt, and before it has it, ends that attempt without blame', async () => {
  const assignment = { keep: true } as Parameters<Attempting['start']>[0];
  const first = await startProgram(`${HERE} process.on('message', () => over(${RESULT}, true));`);
  first.start(assignment);
  expect(await first.ended).toEqual({ kind: 'result', result: [1] });
  const chosen = await first.stays;
  if (chosen === null) throw new Error('it did not stay');
  process.kill(chosen.pid, 'SIGKILL');
  let looks = 0;
  // Some looks after its end: by then all has been done about it.
  const gone = (): boolean => !chosen.alive && membersOf(chosen.pid).length === 0;
  await until(() => gone() && (looks += 1) > 3, { what: 'it to be gone' });
  const second = chosen.serve(questions);
  second.start(assignment);
  expect(await second.ended).toMatchObject({ kind: 'lost', signal: 'SIGKILL', blame: 0 });
  expect(await second.stays).toBeNull();
  await second.stop(revoked, 0);
});
