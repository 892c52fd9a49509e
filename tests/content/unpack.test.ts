import { execFileSync, spawnSync } from 'node:child_process';
import {
  closeSync,
  linkSync,
  lstatSync,
  openSync,
  readFileSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { readManifest } from '../../workers/content/manifest.ts';
import { packBundle } from '../../workers/content/pack/pack.ts';
import { type UnpackOptions, type UnpackResult, unpackBundle } from '../../workers/content/unpack/unpack.ts';
import { makePlace, type Place } from '../support/place.ts';
import { makeOddTree, portrait } from './trees.ts';

const unpack = (place: Place, options: Partial<UnpackOptions> = {}): Promise<UnpackResult> =>
  unpackBundle({ bundle: place.path('bundle.tar'), target: place.dir('out'), ...options });

async function packed(place: Place) {
  const result = await packBundle({
    source: place.path('source'),
    target: place.path('bundle.tar'),
    manifest: place.path('manifest'),
    digests: { member: ['blake3'], bundle: ['blake3'] },
  });
  return { expect: { size: result.size, digests: result.digests }, manifest: place.path('manifest') };
}

function flip(path: string, at: number): void {
  const bytes = readFileSync(path);
  const fd = openSync(path, 'r+');
  writeSync(fd, Buffer.of((bytes[at] ?? 0) ^ 0x01), 0, 1, at);
  closeSync(fd);
}

test('our own bundle comes back as the same tree: names, bytes, modes, links, times, holes', async () => {
  const place = await makePlace();
  makeOddTree(place.dir('source'));
  const known = await packed(place);
  const result = await unpack(place, { ...known, copy: place.path('copy.tar'), verify: 'member' });
  expect(result.root).toBe(place.path('out'));
  expect(portrait(place.path('out'))).toEqual(portrait(place.path('source')));
  expect(statSync(place.path('out/holes')).blocks).toBe(statSync(place.path('source/holes')).blocks);
  execFileSync('cmp', [place.path('bundle.tar'), place.path('copy.tar')]);
});

for (const format of ['gnu', 'pax', 'ustar', 'v7', 'oldgnu']) {
  test(`a bundle that GNU tar wrote in ${format} format comes back as the same tree`, async () => {
    const place = await makePlace();
    makeOddTree(place.dir('source'));
    // What a format cannot hold, and links that lead outside, are left out.
    const left = [
      './absolute',
      './a/outside',
      ...(format === 'ustar' || format === 'v7' ? ['./level-0', './n*', './*\u00fc*'] : []),
    ];
    const excluded = left.map((name) => `--exclude=${name}`);
    execFileSync(
      'tar',
      [
        'cf',
        place.path('bundle.tar'),
        `--format=${format}`,
        '--sparse',
        ...excluded,
        '-C',
        place.path('source'),
        '.',
      ].filter((arg) => arg !== '--sparse' || !['ustar', 'v7'].includes(format)),
    );
    const byTar = place.dir('by-tar');
    execFileSync('tar', ['xpf', place.path('bundle.tar'), '-C', byTar]);
    const result = await unpack(place);
    expect(portrait(result.root, { times: false })).toEqual(portrait(byTar, { times: false }));
  });
}

test('a bundle that Python wrote comes back as the same tree', async () => {
  const place = await makePlace();
  makeOddTree(place.dir('source'));
  const script = `
import sys, tarfile
with tarfile.open(sys.argv[1], 'w') as tar:
    tar.add(sys.argv[2], arcname='.', filter=lambda m: None if m.name in ('./absolute', './a/outside') else m)
`;
  execFileSync('python3', ['-c', script, place.path('bundle.tar'), place.path('source')]);
  const result = await unpack(place);
  execFileSync('rm', ['-f', place.path('source/absolute'), place.path('source/a/outside')]);
  expect(portrait(result.root, { times: false })).toEqual(portrait(place.path('source'), { times: false }));
});

test('a legacy bundle with a top folder names that folder as root', async () => {
  const place = await makePlace();
  writeFileSync(join(place.dir('source/run1'), 'a1'), 'one');
  writeFileSync(place.path('source/run1/a2'), 'two');
  const tar = (...members: string[]) =>
    execFileSync('tar', ['cf', place.path('bundle.tar'), '-C', place.path('source'), ...members]);
  tar('run1');
  expect((await unpack(place)).root).toBe(place.path('out/run1'));
  // Without an entry for the folder itself: the prefix is a name, not the letters "run1/a".
  tar('run1/a1', 'run1/a2');
  const second = await unpack(place, { target: place.dir('second') });
  expect(second.root).toBe(place.path('second/run1'));
  expect(readFileSync(join(second.root, 'a2'), 'utf8')).toBe('two');
});

test('hard links of a foreign bundle stay inside', async () => {
  const place = await makePlace();
  writeFileSync(join(place.dir('source'), 'one'), 'shared');
  execFileSync('ln', [place.path('source/one'), place.path('source/two')]);
  execFileSync('tar', ['cf', place.path('bundle.tar'), '-C', place.path('source'), '.']);
  await unpack(place);
  expect(statSync(place.path('out/two')).ino).toBe(statSync(place.path('out/one')).ino);
});

test('a path that is too long below its stage folder is told with what can be done', async () => {
  const place = await makePlace();
  const source = place.dir('source');
  const deep = Array.from({ length: 17 }, () => 'd'.repeat(230)).join('/');
  writeFileSync(join(source, 'one'), 'data');
  execFileSync('tar', [
    'cf',
    place.path('bundle.tar'),
    `--transform=s|^one|${deep}/one|`,
    '-C',
    source,
    'one',
  ]);
  const folders = Array.from({ length: 3 }, () => 's'.repeat(100)).join('/');
  await expect(unpack(place, { target: place.dir(folders) })).rejects.toMatchObject({
    code: 'E_BUNDLE_UNSAFE',
    hint: expect.stringContaining('point the stage path to a shorter one'),
  });
  const { root } = await unpack(place);
  expect(readFileSync(join(root, 'one'), 'utf8')).toBe('data');
});

test('names of one symbolic link, which GNU tar and bsdtar store as hard links, are links again', async ({
  skip,
}) => {
  for (const program of ['tar', 'bsdtar']) {
    const place = await makePlace();
    const source = place.dir('source');
    writeFileSync(join(source, 'one'), 'data');
    symlinkSync('one', join(source, 'a'));
    linkSync(join(source, 'a'), join(source, 'z'));
    linkSync(join(source, 'a'), join(place.dir('source/sub'), 'deep'));
    const { error } = spawnSync(program, ['cf', place.path('bundle.tar'), '-C', source, '.']);
    if (error !== undefined) skip(`${program} is not installed`);
    await unpack(place);
    expect(portrait(place.path('out'), { times: false })).toEqual(portrait(source, { times: false }));
    expect(lstatSync(place.path('out/z')).ino).toBe(lstatSync(place.path('out/a')).ino);
  }
});

test('a flipped byte anywhere is E_BUNDLE_CORRUPT with both digests', async () => {
  const place = await makePlace();
  makeOddTree(place.dir('source'));
  const known = await packed(place);
  for (const at of [3, 156, 600, 5000, 700_000, known.expect.size - 20]) {
    flip(place.path('bundle.tar'), at);
    const target = place.dir(`out-${at}`);
    await expect(unpack(place, { ...known, target })).rejects.toMatchObject({
      code: 'E_BUNDLE_CORRUPT',
      fields: { what: 'blake3', expected: known.expect.digests.blake3 },
    });
    flip(place.path('bundle.tar'), at);
  }
  await expect(unpack(place, { ...known, target: place.dir('sound') })).resolves.toBeDefined();
});

test('where the first member of a large bundle is damaged, its digest says so all the same', async () => {
  const place = await makePlace();
  writeFileSync(join(place.dir('source'), 'a'), 'one');
  writeFileSync(place.path('source/b'), Buffer.alloc(64 * 1024 * 1024, 'x'));
  const known = await packed(place);
  flip(place.path('bundle.tar'), 3);
  await expect(unpack(place, known)).rejects.toMatchObject({
    code: 'E_BUNDLE_CORRUPT',
    fields: { what: 'blake3', expected: known.expect.digests.blake3 },
  });
});

test('without knowing the bundle digest, the manifest names the damaged member', async () => {
  const place = await makePlace();
  makeOddTree(place.dir('source'));
  const { manifest } = await packed(place);
  const victim = [...readManifest(manifest)].find((member) => member.path === 'size-1500000');
  flip(place.path('bundle.tar'), (victim?.offset ?? 0) + 1_000_000);
  await expect(unpack(place, { manifest })).rejects.toMatchObject({
    code: 'E_BUNDLE_CORRUPT',
    fields: { member: 'size-1500000', what: 'blake3' },
  });
});

test('a bundle that was cut short is E_BUNDLE_CORRUPT, wherever it ends', async () => {
  const place = await makePlace();
  makeOddTree(place.dir('source'));
  // Without a manifest these would be refused for themselves.
  execFileSync('rm', [place.path('source/absolute'), place.path('source/a/outside')]);
  const known = await packed(place);
  truncateSync(place.path('bundle.tar'), known.expect.size - 1024);
  await expect(unpack(place, known)).rejects.toMatchObject({
    code: 'E_BUNDLE_CORRUPT',
    fields: { what: 'size' },
  });
  for (const [index, size] of [known.expect.size - 1024, 700_000, 512, 0].entries()) {
    truncateSync(place.path('bundle.tar'), size);
    await expect(unpack(place, { target: place.dir(`cut-${index}`) })).rejects.toMatchObject({
      code: 'E_BUNDLE_CORRUPT',
    });
  }
});

test('a manifest of another dataset is noticed', async () => {
  const place = await makePlace();
  writeFileSync(join(place.dir('source'), 'a'), 'one');
  const known = await packed(place);
  writeFileSync(place.path('source/b'), 'two');
  await packBundle({
    source: place.path('source'),
    target: place.path('bundle.tar'),
    manifest: place.path('other'),
    digests: { member: ['blake3'], bundle: ['blake3'] },
  });
  await expect(unpack(place, { manifest: known.manifest })).rejects.toMatchObject({
    code: 'E_BUNDLE_CORRUPT',
  });
});

test('a bundle that differs from that of its manifest is noticed where every member is as it was', async () => {
  const place = await makePlace();
  writeFileSync(join(place.dir('source'), 'a'), 'one');
  const { manifest } = await packed(place);
  const path = place.path('bundle.tar');
  const bytes = readFileSync(path);
  writeFileSync(path, Buffer.concat([bytes, Buffer.alloc(512)]));
  await expect(unpack(place, { manifest })).rejects.toMatchObject({
    code: 'E_BUNDLE_CORRUPT',
    fields: { what: 'size', expected: String(bytes.length) },
  });
  writeFileSync(path, bytes);
  flip(path, bytes.length - 1); // Behind the end mark.
  const digests = ['blake3', 'md5'] as const; // The manifest knows only the first.
  await expect(unpack(place, { manifest, digests, target: place.dir('second') })).rejects.toMatchObject({
    code: 'E_BUNDLE_CORRUPT',
    fields: { what: 'blake3' },
  });
});

test('a file that lies elsewhere in the bundle than the manifest says is noticed, though every byte of it is right', async () => {
  const place = await makePlace();
  writeFileSync(join(place.dir('source'), 'a'), 'one');
  writeFileSync(place.path('source/b'), 'x'.repeat(70_000));
  execFileSync('touch', ['-d', '@1700000000.5', place.path('source/b')]);
  const { manifest } = await packed(place);
  const path = place.path('bundle.tar');
  const [a = 0, b = 0] = [...readManifest(manifest)].flatMap(({ offset = null }) => offset ?? []);
  const bytes = readFileSync(path);
  // The header with the exact time of `b` stands before `a`: it is that of another member, and of the same size.
  const [head, of_a] = [bytes.subarray(0, a - 512), bytes.subarray(a - 512, a + 512)];
  const extended = bytes.subarray(a + 512, b - 512);
  expect(extended.length).toBe(1024);
  writeFileSync(path, Buffer.concat([head, extended, of_a, bytes.subarray(b - 512)]));
  await expect(unpack(place, { manifest })).rejects.toMatchObject({
    code: 'E_BUNDLE_CORRUPT',
    fields: { what: 'place', expected: String(a), actual: String(a + 1024) },
  });
});

test.each<[what: string, change: (source: string) => void]>([
  ['size', (source) => writeFileSync(join(source, 'a'), 'three')],
  ['link target', (source) => execFileSync('ln', ['-sfn', 'two', join(source, 'link')])],
])('a member that differs from its manifest in %s is noticed, whatever is digested', async (what, change) => {
  const place = await makePlace();
  const source = place.dir('source');
  writeFileSync(join(source, 'a'), 'one');
  symlinkSync('one', join(source, 'link'));
  const { manifest } = await packed(place);
  change(source);
  await packBundle({
    source,
    target: place.path('bundle.tar'),
    manifest: place.path('other'),
    digests: { member: ['blake3'], bundle: ['blake3'] },
  });
  await expect(unpack(place, { manifest, verify: 'bundle' })).rejects.toMatchObject({
    code: 'E_BUNDLE_CORRUPT',
    fields: { what },
  });
});

test('a bundle that ends in zeros too early lacks members, which its manifest names', async () => {
  const place = await makePlace();
  for (const name of ['a', 'b', 'c']) writeFileSync(join(place.dir('source'), name), name);
  const { manifest } = await packed(place);
  const path = place.path('bundle.tar');
  const bytes = readFileSync(path);
  const second = [...readManifest(manifest)].find((member) => member.path === 'b');
  bytes.fill(0, (second?.offset ?? 0) - 512);
  writeFileSync(path, bytes);
  await expect(unpack(place, { manifest })).rejects.toMatchObject({
    code: 'E_BUNDLE_CORRUPT',
    fields: { what: 'in the bundle', actual: 'missing' },
  });
});

test('a missing bundle is not a corrupt one', async () => {
  const place = await makePlace();
  await expect(unpack(place)).rejects.toMatchObject({ code: 'E_BUNDLE_MISSING' });
});

test('a thousand files in folders, twice over each other, come back where that is allowed: the later ones win', async () => {
  const place = await makePlace();
  for (const round of ['first', 'second']) {
    for (let at = 0; at < 1000; at++)
      writeFileSync(join(place.dir('source', `d${at % 30}`), `f${at}`), `${round} ${at}`);
    const how = round === 'first' ? 'cf' : 'rf';
    execFileSync('tar', [how, place.path('bundle.tar'), '-C', place.path('source'), '.']);
  }
  const result = await unpack(place, { foreign: { duplicates: 'replace', max_expansion: 1000 } });
  expect(result.num_files).toBe(1000);
  expect(portrait(result.root, { times: false })).toEqual(portrait(place.path('source'), { times: false }));
});

test('folders that the bundle does not name are made, and get the times of those that it does', async () => {
  const place = await makePlace();
  for (let at = 0; at < 200; at++) writeFileSync(join(place.dir('source/a/b', `c${at % 9}`), `f${at}`), 'x');
  execFileSync('touch', ['-d', '2001-02-03 04:05:06', place.path('source/a')]);
  const names = execFileSync('find', ['.', '-type', 'f', '-print0'], { cwd: place.path('source') });
  const args = ['cf', place.path('bundle.tar'), '-C', place.path('source'), '--null', '-T', '-'];
  execFileSync('tar', args, { input: names });
  execFileSync('tar', ['rf', place.path('bundle.tar'), '-C', place.path('source'), '--no-recursion', './a']);
  await unpack(place);
  expect(statSync(place.path('out/a')).mtime.toISOString()).toBe(
    statSync(place.path('source/a')).mtime.toISOString(),
  );
  expect(portrait(place.path('out'), { times: false, modes: false })).toEqual(
    portrait(place.path('source'), { times: false, modes: false }),
  );
});
