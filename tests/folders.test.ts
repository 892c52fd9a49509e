import { spawnSync } from 'node:child_process';
import { rmdirSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
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
