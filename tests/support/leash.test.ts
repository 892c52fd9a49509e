/** What a run has started does not outlive it, whatever it dies of. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { expect, onTestFinished, test } from 'vitest';
import { makePlace } from './place.ts';
import { until } from './until.ts';

/** Starts a process that outlives it, and holds it; with an argument it lets go of it at the end. */
const RUN = `
  import { spawn } from 'node:child_process';
  import { leash } from ${JSON.stringify(join(import.meta.dirname, 'leash.ts'))};
  const [folder, orderly] = process.argv.slice(1);
  const leashed = leash(folder);
  const held = spawn('sleep', ['1000'], { stdio: 'ignore', detached: true });
  held.unref();
  leashed.hold(held.pid);
  console.log(held.pid);
  process.stdin.once('data', () => {
    leashed.release();
    process.stdin.destroy();
  });
`;

async function start() {
  const place = await makePlace();
  const folder = place.path('server');
  mkdirSync(join(folder, 'data'), { recursive: true });
  const run = spawn(process.execPath, ['--input-type=module', '-e', RUN, folder], {
    env: { ...process.env, ...place.env },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  onTestFinished(() => void run.kill('SIGKILL'));
  const [line] = (await once(createInterface({ input: run.stdout }), 'line')) as [string];
  return { folder, run, held: Number(line) };
}

const lives = (pid: number): boolean => existsSync(`/proc/${pid}`);

test('a run that is killed takes its servers and their folder along', async () => {
  const { folder, run, held } = await start();
  expect(lives(held)).toBe(true);
  run.kill('SIGKILL');
  await until(() => !lives(held) && !existsSync(folder), { what: 'process and folder to be gone' });
});

test('one that has let go leaves them alone', async () => {
  const { folder, run, held } = await start();
  run.stdin.write('end\n');
  await until(() => run.exitCode !== null, { what: 'the run to end' });
  expect([lives(held), existsSync(folder)]).toEqual([true, true]);
  // The place waits for the last process that it started: the shell has ended by itself then.
  process.kill(held);
});
