/** Extended attributes, set and read by Python, which knows nothing of ours. */
import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, linkSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { readManifest } from '../../workers/content/manifest.ts';
import { type PackOptions, type PackResult, packBundle } from '../../workers/content/pack/pack.ts';
import { unpackBundle } from '../../workers/content/unpack/unpack.ts';
import { MAX_XATTR_BYTES, xattrRecords, xattrsOf } from '../../workers/content/xattr/xattrs.ts';
import { parsePax } from '../../workers/content/tar/pax.ts';
import { makePlace, type Place } from '../support/place.ts';
import { file } from './siege.ts';
import { pax, tar } from './tar-writer.ts';
import { makeOddTree, portrait } from './trees.ts';

type Named = Record<string, Record<string, string>>;

/** Values as latin1. */
function setXattrs(root: string, named: Named): void {
  const script = `
import json, os, sys
for path, attributes in json.load(sys.stdin).items():
    for name, value in attributes.items():
        os.setxattr(os.path.join(sys.argv[1], path), name, value.encode('latin1'), follow_symlinks=False)
`;
  execFileSync('python3', ['-c', script, root], { input: JSON.stringify(named) });
}

function xattrsBelow(root: string): Named {
  const script = `
import json, os, sys
found = {}
for folder, folders, files in os.walk(sys.argv[1]):
    for path in [folder] + [os.path.join(folder, name) for name in folders + files]:
        names = [name for name in os.listxattr(path, follow_symlinks=False) if name.startswith('user.')]
        if names:
            found[os.path.relpath(path, sys.argv[1])] = {
                name: os.getxattr(path, name, follow_symlinks=False).decode('latin1') for name in names}
print(json.dumps(found))
`;
  return JSON.parse(execFileSync('python3', ['-c', script, root], { encoding: 'utf8' })) as Named;
}

const pack = (place: Place, options: Partial<PackOptions> = {}): Promise<PackResult> =>
  packBundle({
    source: place.path('source'),
    target: place.path('bundle.tar'),
    manifest: place.path('manifest'),
    digests: { member: ['blake3'], bundle: ['blake3'] },
    ...options,
  });

const ATTRIBUTES: Named = {
  '.': { 'user.of the root': 'x' },
  'plain.txt': {
    'user.comment': 'two\nlines',
    'user.empty': '',
    'user.bytes': '\x00\xff=% \x80',
    'user.a=b%3D': 'y',
  },
  'empty folder': { 'user.folder': 'z' },
  'read-only/inside': { 'user.read-only': '1' },
  holes: { 'user.sparse': 's' },
  'a.txt': { 'user.large': 'v'.repeat(2000) },
};

test('attributes of files and folders come back; nothing else of the tree changes', async () => {
  const place = await makePlace();
  makeOddTree(place.dir('source'));
  setXattrs(place.path('source'), ATTRIBUTES);
  expect((await pack(place)).warnings).toEqual([]);
  const target = place.dir('out');
  const { warnings } = await unpackBundle({
    bundle: place.path('bundle.tar'),
    target,
    manifest: place.path('manifest'),
  });
  expect(warnings).toEqual([]);
  expect(xattrsBelow(target)).toEqual(ATTRIBUTES);
  expect(portrait(target)).toEqual(portrait(place.path('source')));
  const line = [...readManifest(place.path('manifest'))].find(({ path }) => path === 'plain.txt');
  expect(line?.xattrs?.['user.bytes']).toBe(Buffer.from('\x00\xff=% \x80', 'latin1').toString('base64'));
});

test('GNU tar and bsdtar restore them too, and a tree without any has none', async ({ skip }) => {
  const place = await makePlace();
  makeOddTree(place.dir('source'));
  await pack(place);
  expect([...readManifest(place.path('manifest'))].filter(({ xattrs }) => xattrs !== undefined)).toEqual([]);
  expect(readFileSync(place.path('bundle.tar')).includes('SCHILY.xattr')).toBe(false);
  setXattrs(place.path('source'), ATTRIBUTES);
  await pack(place);
  const listed = spawnSync('tar', ['tvf', place.path('bundle.tar')], { encoding: 'latin1' });
  expect([listed.status, listed.stderr]).toEqual([0, '']);
  execFileSync('tar', ['xpf', place.path('bundle.tar'), '--xattrs', '-C', place.dir('by-tar')]);
  expect(xattrsBelow(place.path('by-tar'))).toEqual(ATTRIBUTES);
  const bsdtar = spawnSync('bsdtar', ['-xpf', place.path('bundle.tar'), '-C', place.dir('by-bsdtar')]);
  if (bsdtar.error !== undefined) skip('bsdtar is not installed');
  const found = xattrsBelow(place.path('by-bsdtar'));
  // It does not decode a name as GNU tar encodes it.
  expect({ ...found, 'plain.txt': ATTRIBUTES['plain.txt'] }).toEqual(ATTRIBUTES);
});

test('a bundle of GNU tar brings its attributes, those of the user namespace only', async () => {
  const place = await makePlace();
  makeOddTree(place.dir('source'));
  for (const outside of ['absolute', 'a/outside']) execFileSync('rm', [place.path('source', outside)]);
  setXattrs(place.path('source'), ATTRIBUTES);
  const args = ['cf', place.path('bundle.tar'), '--xattrs', '-C', place.path('source'), '.'];
  execFileSync('tar', args);
  const { root } = await unpackBundle({ bundle: place.path('bundle.tar'), target: place.dir('out') });
  expect(xattrsBelow(root)).toEqual(ATTRIBUTES);
  const pax = parsePax(
    Buffer.concat(xattrRecords({ 'user.a=b%': 'eA==', 'security.capability': 'eA==', 'trusted.x': 'eA==' })),
    0,
  );
  expect(xattrsOf(pax)).toEqual({ 'user.a=b%': 'eA==' });
});

test('of a bundle from elsewhere those of a global header, and too many of one member, are left out', async () => {
  const place = await makePlace();
  const many = Array.from({ length: 500 }, (_, at) => [`SCHILY.xattr.user.${at}`, 'x'.repeat(300)]);
  const bundle = tar(
    pax({ 'SCHILY.xattr.user.global': 'x', mtime: '1' }, 'g'),
    file('none'),
    pax({ 'SCHILY.xattr.user.own': 'x' }),
    file('one'),
    pax(Object.fromEntries(many) as Record<string, string>),
    file('many'),
  );
  writeFileSync(place.path('bundle.tar'), bundle);
  const { warnings } = await unpackBundle({ bundle: place.path('bundle.tar'), target: place.dir('out') });
  expect(xattrsBelow(place.path('out'))).toEqual({ one: { 'user.own': 'x' } });
  expect(warnings).toEqual([
    `the extended attributes of 1 members are larger than ${MAX_XATTR_BYTES} bytes and were left out`,
  ]);
});

test('names of every kind, a file with two names, and links keep theirs', async () => {
  const place = await makePlace();
  const source = place.dir('source');
  const attributes: Named = {};
  for (const name of [
    'b/z',
    'b-a',
    'new\nline',
    ' ',
    '123',
    'ünï',
    '-e',
    `${'n'.repeat(200)}/${'m'.repeat(200)}`,
  ]) {
    mkdirSync(join(source, name, '..'), { recursive: true });
    writeFileSync(join(source, name), name);
    attributes[name] = { 'user.name': Buffer.from(name).toString('latin1') };
  }
  setXattrs(source, attributes);
  linkSync(join(source, '123'), join(source, 'z second'));
  symlinkSync('123', join(source, 'z link'));
  await pack(place);
  const manifest = place.path('manifest');
  await unpackBundle({ bundle: place.path('bundle.tar'), target: place.dir('out'), manifest });
  expect(xattrsBelow(place.path('out'))).toEqual({ ...attributes, 'z second': attributes['123'] });
});

test('two thousand members with attributes, twice: the same bytes', async () => {
  const place = await makePlace();
  const attributes: Named = {};
  for (let at = 0; at < 2000; at++) {
    writeFileSync(join(place.dir('source', `d${at % 40}`), `f${at}`), String(at));
    if (at % 3 > 0) attributes[`d${at % 40}/f${at}`] = { 'user.n': String(at), 'user.a': 'x' };
  }
  setXattrs(place.path('source'), attributes);
  const first = await pack(place);
  const bytes = readFileSync(place.path('bundle.tar'));
  execFileSync('cp', ['-a', '--preserve=xattr', place.path('source'), place.path('copy')]);
  expect(await pack(place, { source: place.path('copy') })).toEqual(first);
  expect(readFileSync(place.path('bundle.tar')).equals(bytes)).toBe(true);
  const manifest = place.path('manifest');
  await unpackBundle({ bundle: place.path('bundle.tar'), target: place.dir('out'), manifest });
  expect(xattrsBelow(place.path('out'))).toEqual(attributes);
});

test.each([
  ['is missing', null, 'perl could not be started'],
  ['dies in the middle of a line', "printf '@2e\\n706c6169'; exit 3", 'perl ended with code 3'],
])('when perl %s it is said once, and the bundle is made', async (_, perl, why) => {
  const place = await makePlace();
  makeOddTree(place.dir('source'));
  setXattrs(place.path('source'), { 'plain.txt': { 'user.x': 'y' } });
  const without = await pack(place, { xattrs: false });
  expect(without.warnings).toEqual([]);
  if (perl !== null)
    writeFileSync(join(place.dir('programs'), 'perl'), `#!/bin/sh\n${perl}\n`, { mode: 0o755 });
  const module = new URL('../../workers/content/pack/pack.ts', import.meta.url).href;
  const script = `
    const { packBundle } = await import(${JSON.stringify(module)});
    console.log(JSON.stringify(await packBundle(JSON.parse(process.argv[1]))));
  `;
  const options = {
    source: place.path('source'),
    target: place.path('second.tar'),
    manifest: place.path('second.manifest'),
    digests: { member: ['blake3'], bundle: ['blake3'] },
  };
  const args = ['--input-type=module', '-e', script, JSON.stringify(options)];
  const env = { PATH: place.dir('programs') };
  const second = JSON.parse(execFileSync(process.execPath, args, { encoding: 'utf8', env })) as PackResult;
  expect(second.warnings).toHaveLength(1);
  expect(second.warnings[0]).toContain(`extended attributes are not kept: ${why}`);
  expect(second.digests).toEqual(without.digests);
});

test('more than a header may hold is left out, with a warning', async ({ skip }) => {
  const place = await makePlace();
  const source = execFileSync('mktemp', ['-d', '/dev/shm/longshore-XXXXXX'], { encoding: 'utf8' }).trim();
  try {
    writeFileSync(join(source, 'f'), 'x');
    const large = Object.fromEntries(
      ['a', 'b'].map((name) => [`user.${name}`, 'v'.repeat(MAX_XATTR_BYTES / 2)]),
    );
    try {
      setXattrs(source, { f: large });
    } catch {
      skip('ext4 holds 4 KiB, and the memory file system of this kernel no such attributes');
    }
    const { warnings } = await pack(place, { source });
    expect(warnings).toEqual([expect.stringContaining('those of 1 members are larger')]);
  } finally {
    execFileSync('rm', ['-r', source]);
  }
});

test('a user who is not root sets them on files that may not be written, whose modes stay', ({ skip }) => {
  if (process.getuid?.() !== 0) skip('needs root, to become another user');
  const root = execFileSync('mktemp', ['-d', '/tmp/longshore-xattrs-XXXXXX'], { encoding: 'utf8' }).trim();
  try {
    writeFileSync(join(root, 'f'), 'x');
    chmodSync(join(root, 'f'), 0o444);
    execFileSync('chown', ['-R', '65534:65534', root]);
    const module = new URL('../../workers/content/xattr/restore.ts', import.meta.url).href;
    const script = `
      const { XattrWriter } = await import(${JSON.stringify(module)});
      process.setgroups([]); process.setgid(65534); process.setuid(65534);
      const writer = new XattrWriter(process.argv[1]);
      writer.add('f', { 'user.a': 'eA==', 'security.b': 'eA==' });
      writer.add('none', { 'user.a': 'eA==' });
      console.log(writer.set());
      writer.close();
    `;
    const output = execFileSync(process.execPath, ['--input-type=module', '-e', script, root], {
      encoding: 'utf8',
    });
    expect(output).toBe(
      `1 extended attributes could not be set, first of ${root}/none: No such file or directory\n`,
    );
    expect(xattrsBelow(root)).toEqual({ f: { 'user.a': 'x' } });
    expect(execFileSync('stat', ['-c', '%a', join(root, 'f')], { encoding: 'utf8' })).toBe('444\n');
  } finally {
    execFileSync('rm', ['-rf', root]);
  }
});
