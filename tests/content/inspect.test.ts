import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { inspectTree, joinedSuffixes, type Inspection } from '../../workers/content/inspect.ts';
import { newestChange } from '../../workers/content/newest-change.ts';
import type { FileRow } from '../../workers/dataset/types.ts';
import { makePlace } from '../support/place.ts';
import { makeOddTree } from './trees.ts';

const genome_file_types = ['.fastq.gz', '.bam', '.bam.bai', '.vcf'];

const du = (path: string): number =>
  Number(execFileSync('du', ['-sb', '--', path], { encoding: 'utf8' }).split('\t')[0]);

test('counts, sizes and rows are those of the reference', async () => {
  const place = await makePlace();
  const root = place.dir('data');
  writeFileSync(join(root, 'reads.fastq.gz'), '0123456789');
  writeFileSync(join(root, '.hidden'), 'abc');
  writeFileSync(join(place.dir('data/nested/deeper'), 'x.bam'), '');
  symlinkSync('reads.fastq.gz', join(root, 'link.fastq.gz'));
  symlinkSync('nested', join(root, 'folder'));
  symlinkSync('nowhere', join(root, 'dangling'));
  linkSync(join(root, '.hidden'), join(root, 'second name'));
  const rows: FileRow[] = [];
  const found = await inspectTree({
    root,
    genome_file_types,
    digests: ['md5'],
    onFiles: async (batch) => void rows.push(...batch),
  });
  expect(found).toEqual({
    du_size: du(root),
    size: 10 + 3 + 0 + 14 + 7 + 3,
    num_files: 6,
    num_directories: 3,
    num_genome_files: 2,
    hole_bytes: 0,
    num_kept: 0,
    problems: [],
    num_problems: 0,
  });
  const shown = rows.map((row) => [row.path, row.type, row.size, row.md5]);
  expect(shown).toEqual([
    ['.hidden', 'file', 3, '900150983cd24fb0d6963f7d28e17f72'],
    ['dangling', 'symbolic link', 7, null],
    ['link.fastq.gz', 'symbolic link', 14, null],
    ['nested/deeper/x.bam', 'file', 0, 'd41d8cd98f00b204e9800998ecf8427e'],
    ['reads.fastq.gz', 'file', 10, '781e5e245d69b566979b86e28d23f2c7'],
    ['second name', 'file', 3, '900150983cd24fb0d6963f7d28e17f72'],
  ]);
});

test('an odd tree is weighed as du does, and its digests are those of md5sum', async () => {
  const place = await makePlace();
  const root = place.dir('data');
  makeOddTree(root);
  const rows: FileRow[] = [];
  const options = {
    root,
    genome_file_types,
    batch_size: 10,
    onFiles: async (batch: FileRow[]) => void rows.push(...batch),
  };
  const found = await inspectTree({ ...options, digests: ['md5', 'blake3'] });
  expect(found.du_size).toBe(du(root));
  expect(found.num_files).toBe(rows.length);
  const sums = execFileSync('find', ['.', '-type', 'f', '-exec', 'md5sum', '--zero', '{}', '+'], {
    cwd: root,
    encoding: 'latin1',
  });
  const expected = sums
    .split('\0')
    .filter(Boolean)
    .map((line) => line.slice(0, 32));
  expect(
    rows
      .filter((row) => row.type === 'file')
      .map((row) => String(row.md5))
      .sort(),
  ).toEqual(expected.sort());
  expect(rows.some((row) => row.path === 'l\\xe4t\\xff1')).toBe(true);
});

test('rows come in batches of the given size', async () => {
  const place = await makePlace();
  const root = place.dir('data');
  for (let index = 0; index < 25; index++) writeFileSync(join(root, `f${index}`), 'x');
  const sizes: number[] = [];
  await inspectTree({
    root,
    genome_file_types,
    batch_size: 10,
    onFiles: async (rows) => void sizes.push(rows.length),
  });
  expect(sizes).toEqual([10, 10, 5]);
});

test('what cannot be read is listed, for a user who is not root', () => {
  // Below /tmp, where another user can come in.
  const place = mkdtempSync(join(tmpdir(), 'longshore-inspect-'));
  onTestFinished(() => {
    execFileSync('chmod', ['-R', 'u+rwX', place]);
    rmSync(place, { recursive: true });
  });
  chmodSync(place, 0o755);
  const root = join(place, 'data');
  for (const folder of ['', 'closed', 'no entry']) mkdirSync(join(root, folder));
  writeFileSync(join(root, 'secret'), 'x');
  writeFileSync(join(root, 'no entry/inside'), 'x');
  execFileSync('mkfifo', [join(root, 'pipe')]);
  chmodSync(join(root, 'secret'), 0o000);
  chmodSync(join(root, 'closed'), 0o000);
  chmodSync(join(root, 'no entry'), 0o444);
  const module = new URL('../../workers/content/inspect.ts', import.meta.url).href;
  const script = `
    const { inspectTree } = await import(${JSON.stringify(module)});
    if (process.getuid() === 0) { process.setgroups([]); process.setgid(65534); process.setuid(65534); }
    const { problems } = await inspectTree({ root: process.argv[1], genome_file_types: [] });
    const closed = await inspectTree({ root: process.argv[1] + '/closed/x', genome_file_types: [] }).catch((error) => error.code);
    const root = await inspectTree({ root: process.argv[1] + '/closed', genome_file_types: [] });
    const read = await inspectTree({ root: process.argv[1], genome_file_types: [], digests: ['md5'] });
    console.log(JSON.stringify({ problems, closed, root, read }));
  `;
  const output = execFileSync(process.execPath, ['--input-type=module', '-e', script, root], {
    encoding: 'utf8',
  });
  const found = JSON.parse(output) as {
    problems: string[][];
    closed: string;
    root: Inspection;
    read: Inspection;
  };
  const denied = 'cannot be read: permission denied';
  expect(found.problems.map(String).toSorted()).toEqual([
    `closed,${denied}`,
    `no entry/inside,${denied}`,
    'pipe,is neither file, directory nor symbolic link',
    `secret,${denied}`,
  ]);
  expect(found.closed).toBe('E_INSPECTION');
  // Each once, however many ways there are to find out.
  expect(found.root).toMatchObject({ problems: [['.', denied]], num_problems: 1 });
  expect(found.read.problems.map(([path]) => path).toSorted()).toEqual([
    'closed',
    'no entry/inside',
    'pipe',
    'secret',
  ]);
});

test.each([
  ['a.fastq.gz', '.fastq.gz'],
  ['s.R1.fastq.gz', '.R1.fastq.gz'],
  ['x.v2.bam', '.v2.bam'],
  ['.bam', ''],
  ['x.BAM', '.BAM'],
  ['folder.bam/plain', ''],
  ['ends.', ''],
])('the suffixes of %s are "%s"', (name, suffixes) => {
  expect(joinedSuffixes(name)).toBe(suffixes);
});

test('a missing origin is E_ORIGIN_MISSING, also when it is a file', async () => {
  const place = await makePlace();
  writeFileSync(place.path('file'), '');
  for (const root of [place.path('none'), place.path('file')]) {
    await expect(inspectTree({ root, genome_file_types })).rejects.toMatchObject({
      code: 'E_ORIGIN_MISSING',
    });
    await expect(newestChange(root)).rejects.toMatchObject({ code: 'E_ORIGIN_MISSING' });
  }
});

test('the newest change is that of any member; an old mtime hides no new ctime, a future one is no change', async () => {
  const place = await makePlace();
  const root = place.dir('data/a/b');
  const before = Date.now();
  writeFileSync(join(root, 'old'), 'x');
  utimesSync(join(root, 'old'), 1000, 1000);
  expect(await newestChange(place.path('data'))).toBeGreaterThanOrEqual(before - 50);
  symlinkSync('nowhere', join(root, 'link'));
  execFileSync('touch', ['-h', '-d', '@4102444800', join(root, 'link')]); // The year 2100.
  expect(await newestChange(place.path('data'))).toBe(
    Number(lstatSync(join(root, 'link'), { bigint: true }).ctimeNs) / 1e6,
  );
});

test('an aborted inspection ends with the reason', async () => {
  const place = await makePlace();
  writeFileSync(join(place.dir('data'), 'f'), Buffer.alloc(100_000_000));
  const abort = new AbortController();
  const inspected = inspectTree({
    root: place.path('data'),
    genome_file_types,
    digests: ['md5'],
    signal: abort.signal,
  });
  setImmediate(() => abort.abort(new Error('paused by a person')));
  await expect(inspected).rejects.toThrow('paused by a person');
});

test('a hundred thousand files are inspected in a heap of 48 MB', async () => {
  const place = await makePlace();
  // Memory-backed where there is such a place: creating them on a disk takes longer than all else.
  const root = readdirSync('/dev').includes('shm')
    ? execFileSync('mktemp', ['-d', '/dev/shm/longshore-XXXXXX'], { encoding: 'utf8' }).trim()
    : place.dir('many');
  try {
    const module = new URL('../../workers/content/inspect.ts', import.meta.url).href;
    const script = `
      const { inspectTree } = await import(${JSON.stringify(module)});
      const { mkdirSync, writeFileSync } = await import('node:fs');
      const [root] = process.argv.slice(1);
      for (let folder = 0; folder < 100; folder++) {
        mkdirSync(root + '/' + folder);
        for (let file = 0; file < 1000; file++) writeFileSync(root + '/' + folder + '/' + file, '');
      }
      let rows = 0;
      const found = await inspectTree({ root, genome_file_types: [], digests: ['md5'], batch_size: 5000, onFiles: async (batch) => { rows += batch.length; } });
      console.log(found.num_files, rows);
    `;
    const args = ['--max-old-space-size=48', '--input-type=module', '-e', script, root];
    expect(execFileSync(process.execPath, args, { encoding: 'utf8' }).trim()).toBe('100000 100000');
  } finally {
    rmSync(root, { recursive: true });
  }
});
