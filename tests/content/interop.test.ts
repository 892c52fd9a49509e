/** Bundles of other programs staged by us, and ours extracted by others: the same trees, byte by byte. */
import { execFileSync, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  linkSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { packBundle } from '../../workers/content/pack/pack.ts';
import { type UnpackOptions, unpackBundle } from '../../workers/content/unpack/unpack.ts';
import { makePlace, type Place } from '../support/place.ts';
import { makeOddTree, makeSparse, portrait } from './trees.ts';
import { pythonExtracts } from './python-tar.ts';

const has = (program: string): boolean => spawnSync(program, ['--version']).error === undefined;
const bsdtarInstalled = has('bsdtar');
if (!bsdtarInstalled)
  console.warn(
    'NOT TESTED: bsdtar is not installed (apt-get install libarchive-tools); it extracts none of our bundles',
  );

/** Names in UTF-8 are text for every program. */
const env = { ...process.env, LC_ALL: 'C.UTF-8' };
const run = (program: string, args: readonly string[], cwd?: string): void =>
  void execFileSync(program, args, { env, ...(cwd === undefined ? {} : { cwd }) });

/** What every format can hold: names up to 100 bytes, no holes that matter, links that stay inside. */
function makePlainTree(root: string): void {
  mkdirSync(join(root, 'reads/lane 1'), { recursive: true });
  mkdirSync(join(root, 'empty'));
  for (const size of [0, 1, 511, 512, 513, 10_240, 300_001])
    writeFileSync(join(root, `reads/size-${size}`), randomBytes(size));
  writeFileSync(join(root, 'reads/lane 1/-dash "quote".fastq'), 'one');
  writeFileSync(join(root, '.hidden'), 'two', { mode: 0o600 });
  linkSync(join(root, '.hidden'), join(root, 'z-hard'));
  symlinkSync('reads/size-1', join(root, 'link'));
  symlinkSync('nowhere', join(root, 'dangling'));
  utimesSync(join(root, 'reads/size-1'), 1_000_000_000, 1_000_000_000);
}

/** And what only long headers hold. */
function makeHardTree(root: string): void {
  makePlainTree(root);
  const deep = join(root, ...Array.from({ length: 30 }, (_, level) => `folder number ${level}`));
  mkdirSync(deep, { recursive: true });
  writeFileSync(join(deep, 'n'.repeat(255)), 'deep');
  writeFileSync(join(root, 'ünïcödé-文件-😀.txt'), 'text');
  writeFileSync(join(root, `${'文'.repeat(80)}.txt`), 'long text');
  writeFileSync(join(root, 'new\nline\tand tab'), 'white');
  symlinkSync(`reads/${'t'.repeat(220)}`, join(root, 'long link'));
  makeSparse(join(root, 'holes'), 3_000_000, [0, 1_000_000, 2_999_999]);
  makeSparse(join(root, 'only a hole'), 1_000_000, []);
  makeSparse(join(root, 'ends in a hole'), 2_000_000, [4096]);
}

/** Names that are no text, short and long: of a folder, a file, a file with holes, a link and its target. */
function makeUnspeakable(source: string): void {
  const long = Buffer.concat([Buffer.from(`${source}/${'y'.repeat(200)}`), Buffer.from([0xe4, 0x74, 0xff])]);
  mkdirSync(long);
  writeFileSync(Buffer.concat([long, Buffer.from(`/${'z'.repeat(200)}`), Buffer.from([0xfe])]), 'no text');
  symlinkSync(Buffer.from('../lat\xe4n-'.padEnd(180, 'q'), 'latin1'), join(source, 'link to no text'));
  makeSparse(join(source, 'holes-'), 2_000_000, [100_000]);
  renameSync(join(source, 'holes-'), Buffer.concat([long, Buffer.from('/holes \xe4', 'latin1')]));
}

async function staged(place: Place, options: Partial<UnpackOptions> = {}): Promise<string> {
  const bundle = place.path('bundle.tar');
  const { root } = await unpackBundle({ bundle, target: place.dir('out'), ...options });
  return root;
}

/** Hard links of the source are hard links of the copy, whatever the portrait of their names. */
const linked = (root: string): boolean =>
  statSync(join(root, '.hidden')).ino === statSync(join(root, 'z-hard')).ino;

/** `./` is that of unpack.test.ts. */
const STYLES = {
  'a top folder': (source: string) => ['-C', join(source, '..'), 'source'],
  'a top folder behind ./': (source: string) => ['-C', join(source, '..'), './source'],
  'bare names': (source: string) => ['-C', source, 'reads', 'empty', '.hidden', 'z-hard', 'link', 'dangling'],
} as const;

describe('GNU tar', () => {
  const cases = ['gnu', 'oldgnu', 'pax', 'ustar', 'v7'].flatMap((format) =>
    Object.keys(STYLES).map((style) => [format, style as keyof typeof STYLES] as const),
  );
  test.each(cases)('%s, %s', async (format, style) => {
    const place = await makePlace();
    const source = place.dir('source');
    const hard = !['ustar', 'v7'].includes(format) && style !== 'bare names';
    (hard ? makeHardTree : makePlainTree)(source);
    run('tar', ['cf', place.path('bundle.tar'), `--format=${format}`, ...STYLES[style](source)]);
    const root = await staged(place);
    expect(root).toBe(place.path(style.startsWith('a top') ? 'out/source' : 'out'));
    expect(portrait(root, { times: false })).toEqual(portrait(source, { times: false }));
    expect(statSync(join(root, 'reads/size-1')).mtimeMs).toBe(1_000_000_000_000);
    expect(linked(root)).toBe(true);
  });

  test.each([
    ['gnu', []],
    ['oldgnu', []],
    ['pax', ['--sparse-version=0.0']],
    ['pax', ['--sparse-version=0.1']],
    ['pax', ['--sparse-version=1.0']],
  ] as const)('holes, %s %s', async (format, options) => {
    const place = await makePlace();
    const source = place.dir('source');
    makeHardTree(source);
    const places = Array.from({ length: 300 }, (_, index) => index * 100_003);
    makeSparse(join(source, `${'many holes '.repeat(12)}.bin`), 40_000_000, places);
    run('tar', [
      'cf',
      place.path('bundle.tar'),
      '--sparse',
      `--format=${format}`,
      ...options,
      '-C',
      source,
      '.',
    ]);
    expect(statSync(place.path('bundle.tar')).size).toBeLessThan(10_000_000);
    const root = await staged(place);
    expect(portrait(root, { times: false })).toEqual(portrait(source, { times: false }));
    expect(statSync(join(root, 'holes')).blocks).toBe(statSync(join(source, 'holes')).blocks);
  });

  test('global headers, times and numbers of all kinds', async () => {
    const place = await makePlace();
    const source = place.dir('source');
    makeHardTree(source);
    utimesSync(join(source, 'reads/size-512'), -1_000_000, -1_000_000.5);
    utimesSync(join(source, 'reads/size-513'), 2 ** 33, 2 ** 33 + 0.25);
    const options = [
      '--pax-option=globexthdr.name=g,comment=made elsewhere,exthdr.name=%d/%f',
      '--owner=x:5000000',
    ];
    run('tar', [
      'cf',
      place.path('bundle.tar'),
      '--format=pax',
      '--numeric-owner',
      ...options,
      '-C',
      source,
      '.',
    ]);
    expect(portrait(await staged(place))).toEqual(portrait(source));
  });

  test('an appended tar with its label: later members win where that is allowed', async () => {
    const place = await makePlace();
    const source = place.dir('source');
    makeHardTree(source);
    run('tar', ['cf', place.path('bundle.tar'), '--label=run 1', '-C', source, '.']);
    writeFileSync(join(source, 'reads/size-1'), 'it grew since');
    writeFileSync(join(source, 'new'), 'new');
    run('tar', ['rf', place.path('bundle.tar'), '-C', source, '.']);
    await expect(staged(place)).rejects.toMatchObject({ code: 'E_BUNDLE_UNSAFE' });
    rmSync(place.path('out'), { recursive: true });
    const root = await staged(place, { foreign: { duplicates: 'replace', max_expansion: 1000 } });
    expect(portrait(root, { times: false })).toEqual(portrait(source, { times: false }));
  });
});

describe('Python', () => {
  const script = `
import sys, tarfile
bundle, source, name, style = sys.argv[1:]
kind = {'PAX': tarfile.PAX_FORMAT, 'GNU': tarfile.GNU_FORMAT, 'USTAR': tarfile.USTAR_FORMAT}[name]
with tarfile.open(bundle, 'w', format=kind) as tar:
    tar.add(source, arcname='.' if style == './' else 'source')
`;
  const cases = ['PAX', 'GNU', 'USTAR'].flatMap((format) =>
    ['./', 'a top folder'].map((style) => [format, style] as const),
  );
  test.each(cases)('%s, %s', async (format, style) => {
    const place = await makePlace();
    const source = place.dir('source');
    (format === 'USTAR' ? makePlainTree : makeHardTree)(source);
    run('python3', ['-c', script, place.path('bundle.tar'), source, format, style]);
    const root = await staged(place);
    expect(root).toBe(place.path(style === './' ? 'out' : 'out/source'));
    expect(portrait(root, { times: false })).toEqual(portrait(source, { times: false }));
    expect(linked(root)).toBe(true);
  });

  test('a time close to 1970, which stands with an exponent', async () => {
    const place = await makePlace();
    const source = place.dir('source');
    writeFileSync(join(source, 'f'), 'x');
    run('python3', ['-c', 'import os, sys; os.utime(sys.argv[1], ns=(1000, 1000))', join(source, 'f')]);
    run('python3', ['-c', script, place.path('bundle.tar'), source, 'PAX', './']);
    expect(readFileSync(place.path('bundle.tar'), 'latin1')).toMatch(/mtime=1\.0*2e-06/);
    expect(statSync(join(await staged(place), 'f'), { bigint: true }).mtimeNs).toBe(1000n);
  });

  test('names that are no text, in each format that has them', async () => {
    for (const format of ['PAX', 'GNU']) {
      const place = await makePlace();
      const source = place.dir('source');
      const long = Buffer.concat([Buffer.from(`${source}/${'x'.repeat(150)}`), Buffer.from([0xe4, 0xff])]);
      writeFileSync(long, format);
      writeFileSync(Buffer.concat([Buffer.from(`${source}/`), Buffer.from([0xff])]), format);
      run('python3', ['-c', script, place.path('bundle.tar'), source, format, './']);
      expect(portrait(await staged(place), { times: false })).toEqual(portrait(source, { times: false }));
    }
  });
});

describe.skipIf(!bsdtarInstalled)('bsdtar', () => {
  test.each(['ustar', 'pax', 'gnutar'])('%s', async (format) => {
    const place = await makePlace();
    const source = place.dir('source');
    (format === 'ustar' ? makePlainTree : makeHardTree)(source);
    run('bsdtar', ['cf', place.path('bundle.tar'), '--format', format, '-C', source, '.']);
    const root = await staged(place);
    expect(portrait(root, { times: false })).toEqual(portrait(source, { times: false }));
    expect(linked(root)).toBe(true);
  });
});

type Extractor = (bundle: string, target: string) => void;

const EXTRACTORS: readonly (readonly [string, boolean, Extractor])[] = [
  ['GNU tar', true, (bundle, target) => run('tar', ['xpf', bundle, '-C', target])],
  ['bsdtar', bsdtarInstalled, (bundle, target) => run('bsdtar', ['xpf', bundle, '-C', target])],
  ['Python', true, (bundle, target) => run('python3', pythonExtracts(bundle, target))],
];

async function packed(place: Place): Promise<number> {
  const { size } = await packBundle({
    source: place.path('source'),
    target: place.path('bundle.tar'),
    manifest: place.path('manifest'),
    digests: { member: ['blake3'], bundle: ['blake3'] },
  });
  return size;
}

describe.each(EXTRACTORS)('our bundle, extracted by %s', (_, installed, extract) => {
  test.skipIf(!installed)('names, bytes, modes, links and holes are the same', async () => {
    const place = await makePlace();
    const source = place.dir('source');
    makeOddTree(source);
    for (const mode of [0o400, 0o444, 0o755, 0o711])
      writeFileSync(join(source, `mode-${mode}`), 'x', { mode });
    makeUnspeakable(source);
    await packed(place);
    const out = place.dir('extracted');
    extract(place.path('bundle.tar'), out);
    expect(portrait(out, { times: false })).toEqual(portrait(source, { times: false }));
    expect(statSync(join(out, 'plain.txt')).mtime.getTime()).toBeGreaterThan(1_234_567_889_000);
  });
});

test('a file of more than 8 GiB, nearly all of it holes, is the same by every program', async () => {
  const place = await makePlace();
  const name = `${'big '.repeat(30)}.raw`;
  const size = 9 * 1024 ** 3 + 12_345;
  makeSparse(join(place.dir('source'), name), size, [0, 5_000_000_000, 8_600_000_000, size - 1]);
  expect(await packed(place)).toBeLessThan(100_000);
  // Reading nine gigabytes of holes would say no more than the places that hold something, and those around them.
  const peek = (path: string, at: number): string =>
    execFileSync('dd', [
      `if=${path}`,
      'iflag=skip_bytes,count_bytes',
      `skip=${at}`,
      'count=8192',
      'status=none',
    ]).toString('latin1');
  for (const [program, installed, extract] of EXTRACTORS) {
    if (!installed) continue;
    const out = place.dir('extracted', program);
    extract(place.path('bundle.tar'), out);
    const copy = join(out, name);
    expect(statSync(copy).size, program).toBe(size);
    expect(statSync(copy).blocks, program).toBeLessThan(2000);
    for (const at of [0, 1_000_000, 5_000_000_000 - 4096, 8_600_000_000 - 4096, size - 8192])
      expect(peek(copy, at), `${program} at ${at}`).toBe(peek(place.path('source', name), at));
  }
});

test('our bundle, staged or extracted and packed again, is the same', async () => {
  const place = await makePlace();
  const source = place.dir('source');
  makeHardTree(source);
  makeUnspeakable(source);
  // Whole seconds: a tar header holds no more.
  run('find', ['.', '-depth', '-exec', 'touch', '-h', '-d', '2026-01-02 03:04:05', '{}', '+'], source);
  await packed(place);
  const first = readFileSync(place.path('bundle.tar'));
  const ours = {
    bundle: place.path('bundle.tar'),
    target: place.dir('out'),
    manifest: place.path('manifest'),
  };
  expect(portrait((await unpackBundle(ours)).root)).toEqual(portrait(source));
  const out = place.dir('extracted');
  run('tar', ['xpf', place.path('bundle.tar'), '-C', out]);
  await packBundle({
    source: out,
    target: place.path('again.tar'),
    manifest: place.path('again.manifest'),
    digests: { member: ['blake3'], bundle: ['blake3'] },
  });
  expect(readFileSync(place.path('again.tar')).equals(first)).toBe(true);
});
