import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { lockFileOf, takeForeground } from '../../scripts/foreground/lock.ts';
import { makePlace } from '../support/place.ts';

const module = join(import.meta.dirname, '../../scripts/foreground/lock.ts');

/** Tries to take the lock, says who has it, and stays until it is killed. */
async function tryToTake(home: string): Promise<{ child: ChildProcess; holder: number | null }> {
  const script = `
    const { takeForeground } = await import(${JSON.stringify(module)});
    console.log(JSON.stringify({ holder: takeForeground(process.argv[1]) }));
    setInterval(() => undefined, 1000);
  `;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script, home]);
  onTestFinished(() => void child.kill('SIGKILL'));
  const [line] = (await once(child.stdout, 'data')) as [Buffer];
  return { child, ...(JSON.parse(String(line)) as { holder: number | null }) };
}

test('of many that start at once one has the lock and the others are told its number', async () => {
  const place = await makePlace();
  const home = place.dir('pm2');
  writeFileSync(lockFileOf(home), '999999999 1\n');
  const all = await Promise.all(Array.from({ length: 5 }, () => tryToTake(home)));
  const winner = all.filter(({ holder }) => holder === null);
  expect(winner).toHaveLength(1);
  for (const { holder } of all) expect([null, winner[0]?.child.pid]).toContain(holder);
  expect(readdirSync(home)).toEqual([basename(lockFileOf(home))]);
});

test('the lock of a process that was killed, or whose number another has now, holds up nobody', async () => {
  const place = await makePlace();
  const home = place.dir('pm2');
  const { child } = await tryToTake(home);
  expect(takeForeground(home)).toBe(child.pid);
  child.kill('SIGKILL');
  await once(child, 'exit');
  expect(takeForeground(home)).toBeNull();
  expect(takeForeground(home)).toBe(process.pid);
  writeFileSync(lockFileOf(home), `${process.pid} 1\n`);
  expect(takeForeground(home)).toBeNull();
});
