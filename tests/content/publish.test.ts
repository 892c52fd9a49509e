import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { expect, test } from 'vitest';
import {
  adoptPartial,
  namesIn,
  partialPath,
  publishFile,
  publishLink,
  publishTree,
  removeStale,
  removeTree,
} from '../../workers/content/publish.ts';
import { makePlace } from '../support/place.ts';
import { makeOddTree } from './trees.ts';

test('a tree takes the place of an older one with no moment in which the place is empty', async () => {
  const place = await makePlace();
  const final = place.dir('final');
  writeFileSync(join(final, 'version'), '0');
  let looks = 0;
  let gaps = 0;
  let done = false;
  const watch = (): void => {
    looks += 1;
    if (!existsSync(join(final, 'version'))) gaps += 1;
    if (!done) setImmediate(watch);
  };
  watch();
  for (let version = 1; version <= 20; version++) {
    const partial = partialPath(final, 'attempt-1');
    mkdirSync(partial);
    writeFileSync(join(partial, 'version'), String(version));
    expect(await publishTree(partial, final)).toBe('exchanged');
  }
  done = true;
  expect(looks).toBeGreaterThan(20);
  expect(gaps).toBe(0);
  expect(readFileSync(join(final, 'version'), 'utf8')).toBe('20');
  expect(readdirSync(place.folder)).toEqual(['final']);
});

test('a folder is made with all that it lies in, each synced, and one that is there is left as it is', async () => {
  const place = await makePlace();
  const base = place.dir('base');
  const path = join(base, 'RAW_DATA', '2026', 'deep');
  const code = `
    import fs from 'node:fs';
    import { syncBuiltinESMExports } from 'node:module';
    const { openSync } = fs;
    const opened = [];
    fs.openSync = (at, ...rest) => (opened.push(at), openSync(at, ...rest));
    syncBuiltinESMExports();
    const { makeFolder } = await import(process.argv[1]);
    opened.length = 0;
    await makeFolder(process.argv[2]);
    const first = opened.splice(0);
    await makeFolder(process.argv[2]);
    console.log(JSON.stringify([first, opened]));
  `;
  const module = join(import.meta.dirname, '../../workers/content/publish.ts');
  const said = execFileSync(process.execPath, ['--input-type=module', '-e', code, module, path], {
    encoding: 'utf8',
  });
  const above = [join(base, 'RAW_DATA', '2026'), join(base, 'RAW_DATA'), base];
  expect(JSON.parse(said)).toEqual([above, []]);
  expect(statSync(path).isDirectory()).toBe(true);
});

test('without an exchange of names the old tree is set aside, and what a kill left of one that was goes', async () => {
  const place = await makePlace();
  const final = place.dir('final');
  writeFileSync(join(final, 'version'), '1');
  // Killed when the old tree was set aside, or had just got its successor.
  mkdirSync(`${partialPath(final, 'old')}/left`, { recursive: true });
  const partial = partialPath(final, 'x');
  mkdirSync(partial);
  writeFileSync(join(partial, 'version'), '2');
  const { PATH } = process.env;
  const bin = place.dir('bin');
  for (const name of ['rm', 'chmod']) symlinkSync(`/bin/${name}`, join(bin, name));
  process.env.PATH = bin; // No perl.
  try {
    expect(await publishTree(partial, final)).toBe('set aside');
  } finally {
    process.env.PATH = PATH;
  }
  expect(readFileSync(join(final, 'version'), 'utf8')).toBe('2');
  expect(readdirSync(place.folder).toSorted()).toEqual(['bin', 'final']);
});

test('a first publication needs no exchange', async () => {
  const place = await makePlace();
  const final = place.path('final');
  mkdirSync(partialPath(final, 'x'));
  expect(await publishTree(partialPath(final, 'x'), final)).toBe('new');
});

test('a link is replaced in one step, whatever stood there', async () => {
  const place = await makePlace();
  const link = place.path('link');
  await publishLink('/one', link, 'x');
  await publishLink('/two', link, 'x');
  expect(readlinkSync(link)).toBe('/two');
  mkdirSync(place.path('folder/inside'), { recursive: true });
  await publishLink('/three', place.path('folder'), 'x');
  expect(readlinkSync(place.path('folder'))).toBe('/three');
  expect(readdirSync(place.folder).toSorted()).toEqual(['folder', 'link']);
});

test('leftovers of dead attempts are found by name, those of other things are left alone', async () => {
  const place = await makePlace();
  const final = place.path('run1.tar');
  writeFileSync(partialPath(final, 'aaaaaaaa-1'), '');
  mkdirSync(partialPath(final, 'bbbbbbbb-2'));
  symlinkSync('/nowhere', partialPath(final, 'cccccccc-3'));
  const others = [
    partialPath(place.path('run1.tar.manifest.ndjson'), 'a'),
    partialPath(place.path('run10.tar'), 'a'),
  ];
  for (const other of others) writeFileSync(other, '');
  expect(await removeStale(final)).toBe(3);
  expect(readdirSync(place.folder).toSorted()).toEqual(others.map((other) => basename(other)).toSorted());
  expect(await removeStale(place.path('no/such/folder/x'))).toBe(0);
});

test('of what dead attempts left the newest is taken over with what belongs to it, and the own before any other', async () => {
  const place = await makePlace();
  const final = place.path('run1.tar');
  expect(await adoptPartial(final, 'own-task', ['.marks'])).toBe(false);
  const leave = (id: string, second: number, ...sides: string[]): void => {
    for (const side of ['', ...sides]) writeFileSync(`${partialPath(final, id)}${side}`, `${id}${side}`);
    utimesSync(partialPath(final, id), second, second);
  };
  leave('old-task', 1, '.marks');
  leave('new-task', 3, '.marks', '.strange');
  leave('mid-task', 2);
  const own = partialPath(final, 'own-task');
  const left = (): string[] =>
    readdirSync(place.folder).map((name) => readFileSync(place.path(name), 'utf8'));
  expect(await adoptPartial(final, 'own-task', ['.marks'])).toBe(true);
  expect(left()).toEqual(['new-task', 'new-task.marks']);
  expect(readdirSync(place.folder)).toEqual([basename(own), `${basename(own)}.marks`]);
  leave('newer-one', 4);
  expect(await adoptPartial(final, 'own-task', ['.marks'])).toBe(true);
  expect(left()).toEqual(['new-task', 'new-task.marks']);
});

test('a folder that is not there has no names; one that cannot be read is no such folder', async () => {
  const place = await makePlace();
  expect(namesIn(place.path('none'))).toEqual([]);
  writeFileSync(place.path('file'), '');
  expect(() => namesIn(place.path('file'))).toThrow(expect.objectContaining({ code: 'ENOTDIR' }));
});

test('the temporary name of the longest name fits, and differs for names that differ at their end', async () => {
  const place = await makePlace();
  const [one, two] = ['a', 'b'].map((end) =>
    partialPath(place.path(`${'ü'.repeat(126)}${end}`), 'attempt-1'),
  );
  expect(one).not.toBe(two);
  writeFileSync(one ?? '', '');
  publishFile(one ?? '', place.path(`${'ü'.repeat(126)}a`));
  expect(readdirSync(place.folder)).toHaveLength(1);
});

test('a tree with read-only folders and odd names is removed whole', async () => {
  const place = await makePlace();
  makeOddTree(place.dir('tree'));
  await removeTree(place.path('tree'));
  await removeTree(place.path('tree'));
  expect(lstatSync(place.path('tree'), { throwIfNoEntry: false })).toBeUndefined();
});

test('a link that cannot be removed changes nothing of what it leads to', async () => {
  const place = await makePlace();
  const folder = place.dir('elsewhere');
  chmodSync(folder, 0o500);
  symlinkSync(folder, place.path('link'));
  // As in a folder of somebody else's, for every user.
  writeFileSync(join(place.dir('bin'), 'rm'), '#!/bin/sh\nexit 1\n', { mode: 0o755 });
  const { PATH } = process.env;
  process.env.PATH = `${place.path('bin')}:${PATH}`;
  try {
    await expect(removeTree(place.path('link'))).rejects.toMatchObject({ code: 'E_IO' });
  } finally {
    process.env.PATH = PATH;
  }
  expect(statSync(folder).mode & 0o777).toBe(0o500);
});
