import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, rmdirSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { expect, onTestFinished, test } from 'vitest';
import { makeFolders, makeFoldersLater } from '../workers/folders.ts';
import { makePlace } from './support/place.ts';

const WAYS = { makeFolders, makeFoldersLater };
const names = Object.keys(WAYS) as (keyof typeof WAYS)[];

test.each(names)('%s ends where a file system has no such folder in one that is there', (name) => {
  const module = new URL('../workers/folders.ts', import.meta.url).href;
  const script = `
    const { ${name} } = await import(${JSON.stringify(module)});
    for (const path of ['/proc/x', '/proc/x/y/z'])
      await Promise.resolve().then(() => ${name}(path)).catch(({ code, path: told }) => console.log(code, told));
  `;
  // In a process of its own, which can be ended: a loop would hold this one for ever.
  const { stdout } = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
    encoding: 'utf8',
    timeout: 60_000,
    killSignal: 'SIGKILL',
  });
  expect(stdout).toBe('ENOENT /proc/x\nENOENT /proc/x\n');
});

test.each(names)('%s makes what is missing, with its mode, and tells where it began', async (name) => {
  const make = WAYS[name];
  const place = await makePlace();
  const path = place.path('a/b/c');
  expect(await make(path, 0o700)).toBe(place.path('a'));
  expect(statSync(place.path('a')).mode & 0o777).toBe(0o700);
  expect(await make(path)).toBeUndefined();
  rmdirSync(path);
  expect(await make(path)).toBe(path);
  symlinkSync(path, place.path('link'));
  expect(await make(place.path('link'))).toBeUndefined();
  expect(await make('/')).toBeUndefined();
});

test.each(names)('%s tells a file that stands in the way, and a link to nothing', async (name) => {
  const make = async (path: string): Promise<unknown> => WAYS[name](path);
  const place = await makePlace();
  writeFileSync(place.path('file'), '');
  symlinkSync('nowhere', place.path('link'));
  await expect(make(place.path('file'))).rejects.toMatchObject({ code: 'EEXIST' });
  await expect(make(join(place.path('file'), 'x', 'y'))).rejects.toMatchObject({ code: 'ENOTDIR' });
  await expect(make(place.path('link'))).rejects.toMatchObject({ code: 'EEXIST' });
});

/** Each waits for the others, so that all meet the same missing folders at the same moment. */
const ONE_OF_MANY = `
  const { readdirSync, writeFileSync } = await import('node:fs');
  const [folder, name, way, many, rounds] = process.argv.slice(1);
  const make = (await import(MODULE))[way];
  for (let round = 0; round < Number(rounds); round++) {
    writeFileSync(folder + '/' + round + '-' + name, '');
    while (readdirSync(folder).filter((one) => one.startsWith(round + '-')).length < Number(many));
    await make(folder + '/made/' + round + '/x/y/' + name);
  }
`;

test.each(names)('%s makes what several processes need at the same moment', async (name) => {
  const place = await makePlace();
  const script = ONE_OF_MANY.replace('MODULE', JSON.stringify(import.meta.resolve('../workers/folders.ts')));
  const [many, rounds] = [4, 100];
  const args = ['--input-type=module', '-e', script, place.dir('shared')];
  const ends = await Promise.all(
    Array.from({ length: many }, async (_, at) => {
      const child = spawn(process.execPath, [...args, `p${at}`, name, String(many), String(rounds)], {
        stdio: ['ignore', 'ignore', 'pipe'],
      });
      // One that failed would be waited for by the others.
      onTestFinished(() => void child.kill('SIGKILL'));
      const [said, [code]] = await Promise.all([text(child.stderr), once(child, 'exit')]);
      if (code !== 0) throw new Error(said);
      return code as number;
    }),
  );
  expect(ends).toEqual(Array(many).fill(0));
  expect(readdirSync(place.path('shared/made'))).toHaveLength(rounds);
});
