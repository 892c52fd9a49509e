import { execFileSync } from 'node:child_process';
import {
  appendFileSync,
  closeSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  readlinkSync,
  readSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { compareTree } from '../../workers/content/compare/compare.ts';
import { manifestFileRows } from '../../workers/content/file-rows.ts';
import { HardLinks } from '../../workers/content/hard-links.ts';
import { inspectTree } from '../../workers/content/inspect.ts';
import { type ManifestMember, readManifest } from '../../workers/content/manifest.ts';
import { packBundle, type PackResult } from '../../workers/content/pack/pack.ts';
import { fsPath } from '../../workers/content/path.ts';
import { unpackBundle } from '../../workers/content/unpack/unpack.ts';
import { toMember } from '../../workers/content/walk.ts';
import { makePlace, type Place } from '../support/place.ts';
import { makeSparse, portrait } from './trees.ts';
import { pythonExtracts } from './python-tar.ts';

const pack = (place: Place): Promise<PackResult> =>
  packBundle({
    source: place.path('source'),
    target: place.path('bundle.tar'),
    manifest: place.path('manifest'),
    digests: { member: ['blake3', 'md5'], bundle: ['blake3'] },
  });

/** Names of every kind for one file: short, long, no UTF-8, in folders before and after the first; and one with holes. */
function makeLinkedTree(root: string): void {
  const long = join(root, 'm', 'n'.repeat(120), 'o'.repeat(150));
  for (const folder of ['m', 'z']) mkdirSync(join(root, folder));
  mkdirSync(long, { recursive: true });
  const bytes = (name: string): Buffer =>
    Buffer.concat([Buffer.from(`${root}/z/`), Buffer.from(name, 'latin1')]);
  writeFileSync(join(root, 'm/first'), 'the data of all these names');
  for (const name of ['a', 'z/last', `${long.slice(root.length + 1)}/deep`])
    linkSync(join(root, 'm/first'), join(root, name));
  linkSync(join(root, 'm/first'), bytes('l\xe4t\xff'));
  writeFileSync(join(long, 'p'.repeat(90)), Buffer.alloc(200_000, 'q'));
  linkSync(join(long, 'p'.repeat(90)), join(root, 'z/of a long name'));
  makeSparse(join(root, 'holes'), 3_000_000, [0, 1_000_000]);
  linkSync(join(root, 'holes'), join(root, 'z/holes too'));
  writeFileSync(join(root, 'empty'), '');
  linkSync(join(root, 'empty'), join(root, 'z/empty too'));
  writeFileSync(join(root, 'alone'), 'x');
  symlinkSync('nowhere', join(root, 'link'));
  linkSync(join(root, 'link'), join(root, 'z/link too'));
}

test('the progress of packing ends at what the inspection weighed; links, folders and holes are skipped', async () => {
  const place = await makePlace();
  const source = place.dir('source');
  makeLinkedTree(source);
  const last = { bytes: 0, skipped: 0 };
  await packBundle({
    source,
    target: place.path('bundle.tar'),
    manifest: place.path('manifest'),
    digests: { member: ['blake3'], bundle: ['blake3'] },
    onProgress: (counts) => Object.assign(last, counts),
  });
  const { du_size, hole_bytes } = await inspectTree({ root: source, genome_file_types: [] });
  const again = readlinkSync(join(source, 'z/link too')).length; // A link of two names: du has one of them.
  expect(last.bytes).toBe(Number(du_size) + again);
  expect(last.skipped).toBeGreaterThan(hole_bytes / 2);
  expect(last.bytes - last.skipped).toBeLessThan(250_000);
});

/** Which names are one file, whatever its inode number is. */
function groups(root: string): string[] {
  const listed = execFileSync('find', ['.', '-type', 'f', '-links', '+1', '-printf', '%i %P\\0'], {
    cwd: root,
  });
  const found = new Map<string, string[]>();
  for (const line of listed.toString('latin1').split('\0').filter(Boolean)) {
    const space = line.indexOf(' ');
    const names = found.get(line.slice(0, space)) ?? [];
    found.set(line.slice(0, space), [...names, line.slice(space + 1)]);
  }
  return [...found.values()].map((names) => names.sort().join('\n')).sort();
}

test('names of one file come back as one file, with modes, times and holes', async () => {
  const place = await makePlace();
  makeLinkedTree(place.dir('source'));
  const { size, digests } = await pack(place);
  const target = place.dir('out');
  const manifest = place.path('manifest');
  await unpackBundle({ bundle: place.path('bundle.tar'), target, manifest, expect: { size, digests } });
  expect(groups(place.path('source')).map((names) => names.split('\n').length)).toEqual([5, 2, 2, 2]);
  expect(groups(target)).toEqual(groups(place.path('source')));
  expect(portrait(target)).toEqual(portrait(place.path('source')));
  for (const level of ['stream', 'readback'] as const)
    expect((await compareTree({ root: target, manifest, level, times: 'report' })).problems).toEqual([]);
});

const extractors: Record<string, (bundle: string, folder: string) => string[]> = {
  tar: (bundle, folder) => ['tar', 'xpf', bundle, '-C', folder],
  bsdtar: (bundle, folder) => ['bsdtar', '-xpf', bundle, '-C', folder],
  python3: (bundle, folder) => ['python3', ...pythonExtracts(bundle, folder)],
};

test.for(Object.keys(extractors))('%s extracts them as the same tree', async (name, { skip }) => {
  const place = await makePlace();
  makeLinkedTree(place.dir('source'));
  await pack(place);
  const [program = '', ...args] = extractors[name]?.(place.path('bundle.tar'), place.dir('out')) ?? [];
  try {
    execFileSync(program, args, { stdio: 'pipe' });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') skip(`${program} is not installed`);
    throw error;
  }
  expect(groups(place.path('out'))).toEqual(groups(place.path('source')));
  expect(portrait(place.path('out'), { times: false })).toEqual(
    portrait(place.path('source'), { times: false }),
  );
});

test('each name has its digests and a place to recall it from; the data is there once', async () => {
  const place = await makePlace();
  makeLinkedTree(place.dir('source'));
  const { size, num_files, bytes } = await pack(place);
  expect(size).toBeLessThan(400_000);
  const members = [...readManifest(place.path('manifest'))];
  const links = members.filter((member) => member.hard_link !== undefined);
  const firsts = links.map(({ hard_link = '' }) => hard_link.slice(0, 8)).sort();
  expect(firsts).toEqual(['a', 'a', 'a', 'a', 'empty', 'holes', 'm/nnnnnn']);
  const bundle = openSync(place.path('bundle.tar'), 'r');
  for (const member of links.filter(({ sparse }) => sparse !== true)) {
    const recalled = Buffer.alloc(member.size);
    readSync(bundle, recalled, 0, member.size, member.offset ?? -1);
    expect(recalled.equals(readFileSync(fsPath(`${place.path('source')}/${member.path}`)))).toBe(true);
  }
  closeSync(bundle);
  const found = await inspectTree({ root: place.path('source'), genome_file_types: [] });
  expect(found.num_files).toBe(num_files);
  const files = members.filter(({ type }) => type === 'file');
  expect(bytes).toBe(files.reduce((sum, file) => sum + file.size, 0));
  for await (const rows of manifestFileRows(place.path('manifest'), 100)) {
    const of = rows.filter(({ type }) => type === 'file');
    expect(of.every(({ md5, digests }) => md5 !== null && digests.blake3 !== undefined)).toBe(true);
    expect(of).toHaveLength(files.length);
  }
});

test('two copies of a tree give the same bytes', async () => {
  const place = await makePlace();
  makeLinkedTree(place.dir('source'));
  const first = await pack(place);
  execFileSync('cp', ['-a', place.path('source'), place.path('copy')]);
  execFileSync('mv', [place.path('source'), place.path('before')]);
  execFileSync('mv', [place.path('copy'), place.path('source')]);
  const bytes = readFileSync(place.path('bundle.tar'));
  const manifest = readFileSync(place.path('manifest'));
  expect(await pack(place)).toEqual(first);
  expect(readFileSync(place.path('bundle.tar')).equals(bytes)).toBe(true);
  expect(readFileSync(place.path('manifest')).equals(manifest)).toBe(true);
});

test('a second name outside of the dataset changes nothing in it', async () => {
  const place = await makePlace();
  writeFileSync(join(place.dir('source'), 'inside'), 'data');
  await pack(place);
  const bytes = readFileSync(place.path('bundle.tar'));
  linkSync(place.path('source/inside'), place.path('outside'));
  await pack(place);
  expect(readFileSync(place.path('bundle.tar')).equals(bytes)).toBe(true);
});

const look = (path: string) =>
  toMember(path.split('/').at(-1) ?? '', lstatSync(path, { bigint: true }), null);
const packed = (path: string): ManifestMember => ({ path, type: 'file', size: 4, mode: 0o644, mtime: '0' });

test('a file that changes between two of its names fails the step, by the name', async () => {
  const place = await makePlace();
  const [one, two] = [place.path('one'), place.path('two')];
  writeFileSync(one, 'data');
  linkSync(one, two);
  const links = new HardLinks();
  expect(links.firstOf(look(one))).toBeNull();
  links.note(look(one), packed('one'));
  appendFileSync(two, 'more');
  expect(() => links.firstOf(look(two))).toThrow(
    expect.objectContaining({ code: 'E_SOURCE_CHANGED', fields: { path: 'two', reason: 'was modified' } }),
  );
});

test('the table is bounded: what does not fit is stored as a file, and a group that is complete makes room', async () => {
  const place = await makePlace();
  for (const name of ['one', 'two']) {
    writeFileSync(place.path(name), 'data');
    linkSync(place.path(name), place.path(`${name} again`));
  }
  const links = new HardLinks(1);
  links.note(look(place.path('one')), packed('one'));
  links.note(look(place.path('two')), packed('two'));
  expect(links.firstOf(look(place.path('two again')))).toBeNull();
  expect(links.firstOf(look(place.path('one again')))).toEqual(packed('one'));
  links.note(look(place.path('two again')), packed('two again'));
  expect(links.firstOf(look(place.path('two')))).toEqual(packed('two again'));
});

test('a hard link that the manifest does not know, or knows with another first name, is damage', async () => {
  const place = await makePlace();
  for (const name of ['a', 'b', 'c']) writeFileSync(join(place.dir('source'), name), 'same');
  linkSync(place.path('source/a'), place.path('source/d'));
  await pack(place);
  const bundle = readFileSync(place.path('bundle.tar'));
  // The header of d names ./a; make it ./b, with a checksum one higher.
  const at = bundle.indexOf('./d\0');
  bundle.write('./b', at + 157);
  const sum = Number.parseInt(bundle.toString('latin1', at + 148, at + 154), 8);
  bundle.write((sum + 1).toString(8).padStart(6, '0'), at + 148);
  writeFileSync(place.path('bundle.tar'), bundle);
  const unpacked = unpackBundle({
    bundle: place.path('bundle.tar'),
    target: place.dir('out'),
    manifest: place.path('manifest'),
    verify: 'member',
  });
  await expect(unpacked).rejects.toMatchObject({ code: 'E_BUNDLE_CORRUPT', fields: { member: 'd' } });
  expect(statSync(place.path('source/d')).nlink).toBe(2);
});
