import { spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { once } from 'node:events';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { Archive } from '../../workers/archive/contract.ts';
import {
  COMMANDS,
  parseHash,
  parseListing,
  parseSize,
  quoted,
  runHsi,
  saysAbsent,
} from '../../workers/archive/hsi.ts';
import { folderOf } from '../../workers/archive/fetch-folder.ts';
import { createSdaArchive, type SdaOptions } from '../../workers/archive/sda.ts';
import { flip } from '../support/archived.ts';
import { makePlace, type Place } from '../support/place.ts';
import { until } from '../support/until.ts';
import { archiveBattery } from './battery.ts';

const HSI = join(import.meta.dirname, '../fixtures/bin/hsi');
const KEY = 'development/2026/raw_data/run1.tar';

function standIn(place: Place, options: Partial<SdaOptions> = {}): Archive {
  return createSdaArchive({
    name: 'tape',
    hsi: HSI,
    hsi_args: [`--stand-in=${place.dir('hpss')}`],
    root: '',
    checksum: true,
    preflight: true,
    // Each look is a run of hsi: more often only where it is what the test is about.
    poll_seconds: 1,
    stall_seconds: 60,
    max_transfers: 4,
    scratch: place.path('scratch'),
    state_dir: place.path('state'),
    keep: 0,
    ...options,
  });
}

const control = (place: Place, how: Record<string, unknown>): void =>
  writeFileSync(place.path('hpss/control.json'), JSON.stringify(how));

const calls = (place: Place): string[] =>
  readFileSync(place.path('hpss/calls.ndjson'), 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as string);

const md5 = (bytes: Buffer): string => createHash('md5').update(bytes).digest('hex');

async function tape(options: Partial<SdaOptions> = {}) {
  const place = await makePlace();
  const bytes = randomBytes(100_000);
  const file = place.path('run1.tar');
  writeFileSync(file, bytes);
  return { place, bytes, file, archive: standIn(place, options) };
}

const put = { task_id: 'task-0001' };

archiveBattery('sda', async (place) => ({
  place,
  open: () => standIn(place),
  key: (name) => `/hpss/2026/raw_data/${name}`,
  takeAway: async () => control(place, { away: true }),
  bringBack: async () => control(place, {}),
  outages: {
    'login refused': { begin: async () => control(place, { denied: true }), code: 'E_ARCHIVE_DENIED' },
    'keytab missing': { begin: async () => control(place, { keytab: true }), code: 'E_ARCHIVE_DENIED' },
    'unknown host': {
      begin: async () => control(place, { unknown_host: true }),
      code: 'E_ARCHIVE_UNAVAILABLE',
    },
    'wrapper missing': {
      begin: async () => control(place, { wrapper_missing: true }),
      code: 'E_ARCHIVE_UNAVAILABLE',
    },
    'root missing': {
      begin: async () => control(place, { root_missing: true }),
      code: 'E_ARCHIVE_UNAVAILABLE',
    },
  },
  brokenPuts: {
    'ends in the middle': async () => control(place, { fail: 'put' }),
    'arrives corrupt': async () => control(place, { corrupt: 'put' }),
    'arrives short': async () => control(place, { truncate: 'put' }),
  },
}));

test('the commands are those that the facility knows, one argument after -P', async () => {
  const { place, file, archive } = await tape();
  await archive.put(KEY, { file }, put);
  const target = place.path('back.tar');
  await archive.get(KEY, target, {});
  await archive.delete(KEY);
  const said = calls(place).filter((one) => !/^(ls|hashlist) /.test(one));
  expect(said).toEqual([
    'mkdir -p development/2026/raw_data',
    `put -c on ${file} : ${KEY}.new`,
    `mv ${KEY}.new ${KEY}`,
    `get -c on ${target} : ${KEY}`,
    `rm ${KEY}`,
    `rm ${KEY}.new`,
  ]);
  expect(calls(place)).toContain(`ls -s1 ${KEY}`);
  expect(calls(place)).toContain(`hashlist ${KEY}`);
});

test('without checksums the commands are shorter, and sizes alone are compared', async () => {
  const { place, file, archive } = await tape({ checksum: false, preflight: false });
  await archive.put(KEY, { file }, put);
  await archive.get(KEY, place.path('back.tar'), {});
  expect(calls(place)).toContain(`put ${file} : ${KEY}.new`);
  expect(calls(place)).toContain(`get ${place.path('back.tar')} : ${KEY}`);
});

test('a put is left out when the archive states the same digest; the local file is only then read', async () => {
  const skipped: string[] = [];
  const { place, file, bytes, archive } = await tape({ onSkip: (path) => skipped.push(path) });
  await archive.put(KEY, { file }, put);
  expect(await archive.put(KEY, { file }, put)).toMatchObject({ digests: { md5: md5(bytes) } });
  expect(skipped).toEqual([KEY]);
  const puts = () => calls(place).filter((one) => one.startsWith('put ')).length;
  expect(puts()).toBe(1);
  writeFileSync(file, randomBytes(100_000));
  await archive.put(KEY, { file }, put);
  expect(puts()).toBe(2);
});

test('without a look before it a put is made again', async () => {
  const { place, file, archive } = await tape({ preflight: false });
  for (let times = 0; times < 2; times++) await archive.put(KEY, { file }, put);
  expect(calls(place).filter((one) => one.startsWith('put '))).toHaveLength(2);
});

test('no tape is mounted again for what an earlier get brought, unless that is another', async () => {
  const { place, file, bytes, archive } = await tape();
  await archive.put(KEY, { file }, put);
  const target = place.path('back.tar');
  const gets = () => calls(place).filter((one) => one.startsWith('get ')).length;
  const seen: number[] = [];
  for (let times = 0; times < 2; times++)
    await archive.get(KEY, target, { onProgress: (size) => seen.push(size) });
  expect([gets(), seen]).toEqual([1, [bytes.length, bytes.length]]);
  flip(target, 500);
  await archive.get(KEY, target, {});
  expect(gets()).toBe(2);
  expect(readFileSync(target).equals(bytes)).toBe(true);
});

test.each([
  ['corrupt', /has md5/],
  ['truncate', /has 99990 bytes, expected 100000/],
])('what arrived otherwise on tape (%s) is refused and removed', async (how, message) => {
  const { place, file, archive } = await tape();
  await archive.stat(KEY);
  control(place, { [how]: 'put' });
  await expect(archive.put(KEY, { file }, put)).rejects.toMatchObject({
    code: 'E_TRANSFER',
    message: expect.stringMatching(message),
  });
  expect(await archive.stat(KEY)).toBeNull();
});

test('with checksums on, a tape that keeps no digest is refused', async () => {
  const { place, file, archive } = await tape();
  await archive.stat(KEY);
  control(place, { no_hash: true });
  await expect(archive.put(KEY, { file }, put)).rejects.toMatchObject({
    code: 'E_TRANSFER',
    message: expect.stringContaining('has no digest'),
  });
});

test.each(['corrupt', 'truncate'])('what comes back otherwise (%s) is no file', async (how) => {
  const { place, file, archive } = await tape();
  await archive.put(KEY, { file }, put);
  control(place, { [how]: 'get' });
  const target = place.path('back.tar');
  await expect(archive.get(KEY, target, {})).rejects.toMatchObject({ code: 'E_TRANSFER' });
  expect(existsSync(target)).toBe(false);
});

test.each(['put', 'get'] as const)('a %s that hangs is stopped, and is an outage', async (verb) => {
  const { place, file, archive } = await tape();
  await archive.put(KEY, { file }, put);
  control(place, { stall: verb });
  // Longer than a busy machine takes to start a program: it is the transfer that is to be stopped.
  const impatient = standIn(place, { stall_seconds: 3, poll_seconds: 0.2, preflight: false });
  const hangs =
    verb === 'put' ? impatient.put(KEY, { file }, put) : impatient.get(KEY, place.path('back.tar'), {});
  await expect(hangs).rejects.toMatchObject({
    code: 'E_ARCHIVE_UNAVAILABLE',
    message: expect.stringContaining('nothing moved for 3 s'),
    fields: { command: expect.stringMatching(new RegExp(`^${verb} `)) },
  });
});

test('a refused login is told from an outage, a failed transfer from both, a missing program from all', async () => {
  const { place, file, archive } = await tape();
  await archive.stat(KEY);
  control(place, { denied: true });
  await expect(archive.stat(KEY)).rejects.toMatchObject({ code: 'E_ARCHIVE_DENIED', class: 'operator' });
  control(place, { fail: 'put' });
  await expect(archive.put(KEY, { file }, put)).rejects.toMatchObject({
    code: 'E_ARCHIVE_UNAVAILABLE',
    fields: { exit_code: 72, command: `put -c on ${file} : ${KEY}.new` },
  });
  const none = standIn(place, { hsi: '/nonexistent/hsi' });
  await expect(none.stat(KEY)).rejects.toMatchObject({ code: 'E_TOOL_MISSING' });
});

test('an abort ends hsi; what it had written does not count', async () => {
  const { place, file, archive } = await tape();
  await archive.stat(KEY);
  control(place, { stall: 'put' });
  const stop = new AbortController();
  const putting = archive.put(KEY, { file }, { ...put, signal: stop.signal });
  putting.catch(() => undefined);
  await until(() => existsSync(place.path('hpss/files', `${KEY}.new`)), { what: 'the first half' });
  stop.abort(new Error('stopped by a person'));
  await expect(putting).rejects.toThrow('stopped by a person');
});

test('progress follows the size on tape', async () => {
  const { place, file, archive } = await tape({ poll_seconds: 0.05 });
  await archive.stat(KEY);
  control(place, { slow_ms: 1000 });
  const seen: number[] = [];
  await archive.put(KEY, { file }, { ...put, onProgress: (bytes) => seen.push(bytes) });
  expect([...new Set(seen)]).toEqual([50_000, 100_000]);
});

test('after a process was killed during a put the next one brings the whole file', async () => {
  const { place, file, bytes, archive } = await tape();
  await archive.stat(KEY);
  control(place, { stall: 'put' });
  const script = `
    const { createSdaArchive } = await import(${JSON.stringify(new URL('../../workers/archive/sda.ts', import.meta.url).href)});
    const [hsi, root, scratch, key, file] = process.argv.slice(1);
    const archive = createSdaArchive({ name: 'tape', hsi, hsi_args: ['--stand-in=' + root], root: '', checksum: true,
      preflight: true, poll_seconds: 1, stall_seconds: 60, max_transfers: 4, scratch, state_dir: scratch, keep: 0 });
    await archive.put(key, { file }, { task_id: 'dead' });
  `;
  const args = [
    '--input-type=module',
    '-e',
    script,
    HSI,
    place.path('hpss'),
    place.path('scratch'),
    KEY,
    file,
  ];
  const child = spawn(process.execPath, args, { stdio: 'inherit', detached: true });
  await until(() => existsSync(place.path('hpss/files', `${KEY}.new`)), { what: 'the first half' });
  process.kill(-(child.pid as number), 'SIGKILL'); // As a worker's recovery ends the group of a dead task.
  await once(child, 'close');
  expect(await archive.stat(KEY)).toBeNull();
  control(place, {});
  await archive.put(KEY, { file }, put);
  expect(readFileSync(place.path('hpss/files', KEY)).equals(bytes)).toBe(true);
});

test('a process that was killed between removing the old and renaming the proven one costs no second transfer', async () => {
  const { place, file, bytes, archive } = await tape();
  await archive.put(KEY, { file }, put);
  const hash = (key: string) => place.path('hpss/hashes', encodeURIComponent(`/${key}`));
  renameSync(place.path('hpss/files', KEY), place.path('hpss/files', `${KEY}.new`));
  renameSync(hash(KEY), hash(`${KEY}.new`));
  expect(await archive.stat(KEY)).toBeNull();
  await archive.put(KEY, { file }, put);
  expect(calls(place).filter((one) => one.startsWith('put '))).toHaveLength(1);
  expect(await archive.stat(KEY)).toMatchObject({ digests: { md5: md5(bytes) } });
  expect(readdirSync(place.path('hpss/files/development/2026/raw_data'))).toEqual(['run1.tar']);
});

test('what a dead attempt left goes with the object', async () => {
  const { place, file, archive } = await tape();
  await archive.put(KEY, { file }, put);
  writeFileSync(place.path('hpss/files', `${KEY}.new`), 'half');
  expect(await archive.delete(KEY)).toBe(true);
  expect(readdirSync(place.path('hpss/files/development/2026/raw_data'))).toEqual([]);
});

test.each(['rm', 'mv', 'rm mv', 'put', 'ls', 'mkdir'])(
  'a %s that ends well and has done nothing is believed of nothing',
  async (verb) => {
    const { place, file, bytes, archive } = await tape();
    await archive.put(KEY, { file }, put);
    const other = place.path('other.tar');
    writeFileSync(other, randomBytes(5000));
    control(place, { pretend: verb });
    if (verb === 'rm') {
      await expect(archive.delete(KEY)).rejects.toMatchObject({
        code: 'E_ARCHIVE_UNAVAILABLE',
        message: expect.stringContaining('still there'),
      });
    }
    const outcome = await archive.put(KEY, { file: other }, put).then(
      ({ size }) => size,
      ({ class: kind }: { class: string }) => kind,
    );
    expect(outcome).toBe(verb === 'mkdir' ? 5000 : 'retryable');
    control(place, {});
    if (verb !== 'mkdir' && verb !== 'mv')
      expect(await archive.stat(KEY)).toMatchObject({ size: bytes.length });
    expect(await archive.put(KEY, { file: other }, put)).toMatchObject({ size: 5000 });
    expect(readdirSync(place.path('hpss/files', KEY, '..'))).toEqual(['run1.tar']);
  },
);

test('a root of its own is made for the first put, and missed when it is gone', async () => {
  const { place, file, archive } = await tape({ root: '/hpss/longshore' });
  const unreachable = { code: 'E_ARCHIVE_UNAVAILABLE' };
  await expect(archive.ensureReachable(KEY)).rejects.toMatchObject(unreachable);
  await archive.prepare(KEY);
  await archive.ensureReachable(KEY);
  expect(await archive.stat(KEY)).toBeNull();
  await archive.put(KEY, { file }, put);
  const keys: string[] = [];
  for await (const { key } of archive.list('development')) keys.push(key);
  expect(keys).toEqual([KEY]);
  rmSync(place.path('hpss/files/hpss/longshore'), { recursive: true });
  await expect(archive.stat(KEY)).rejects.toMatchObject(unreachable);
  await expect(archive.delete(KEY)).rejects.toMatchObject(unreachable);
});

test.each([
  ['*** hpss_Lstat: No such file or directory [-2: HPSS_ENOENT]\n    /a/run1.tar', true],
  ['hsi: ls: /a/run1.tar: No such file or directory', true],
  ['Authenticated with a keytab\n*** ls: /a/run1.tar: [-2: HPSS_ENOENT]', true],
  ['*** hsi: unable to open keytab /etc/hpss.keytab: No such file or directory', false],
  ['*** HPSS authentication failed: [-2: HPSS_ENOENT]', false],
  ['hostname hpss.example.org does not exist', false],
  ['*** could not resolve hpss.example.org\n*** /a/run1.tar: No such file or directory', false],
  ['hsi: /opt/hpss/etc/HPSS.conf: No such file or directory', false],
  ['*** hsi: Error connecting to HPSS gateway: Connection refused', false],
])('%j says that /a/run1.tar is absent: %s', (said, absent) => {
  expect(saysAbsent(said, '/a/run1.tar')).toBe(absent);
});

test.each([
  ['could not be run', 'exit 127'],
  ['may not be run', 'exit 126'],
  ['was stopped because nothing moved', 'exec sleep 60'],
  ['was killed', 'kill -9 $$'],
])('what hsi says of a path when it %s is no absence', async (_, end) => {
  const said = '*** hpss_Lstat: HPSS_ENOENT [-2: /hpss/a]: No such file or directory';
  const hsi_args = ['-c', `echo '${said}' >&2; ${end}`];
  const run = (args: string[], stall_seconds: number) =>
    runHsi({ name: 'tape', hsi: '/bin/sh', hsi_args: args, stall_seconds }, COMMANDS.exists('/hpss/a'));
  await expect(run(hsi_args, 1)).rejects.toMatchObject({ code: 'E_ARCHIVE_UNAVAILABLE' });
  // Nor is a refusal among its words one, where nothing came of it.
  const refused = ['-c', `echo '*** Permission denied [-13]' >&2; exec sleep 60`];
  await expect(run(refused, 1)).rejects.toMatchObject({ code: 'E_ARCHIVE_UNAVAILABLE' });
  // The same words at an end of its own are one.
  expect(await run(['-c', `echo '${said}' >&2; exit 64`], 60)).toBeNull();
});

test('the words of an outage in the name of a dataset are no outage', () => {
  const path = '/a/keytab host does not exist.tar';
  expect(saysAbsent(`*** ls: ${path}: No such file or directory`, path)).toBe(true);
  expect(saysAbsent('*** hsi: /etc/other: No such file or directory', path)).toBe(false);
});

test('a list with an error among its lines is no short list, however hsi ends', async () => {
  const { place, file, archive } = await tape();
  const at = KEY.replace('run1', 'error: no such keytab');
  await archive.put(at, { file }, put);
  const folder = `${KEY.slice(0, KEY.lastIndexOf('/'))}/`;
  const list = async (): Promise<string[]> => {
    const keys = [];
    for await (const { key } of archive.list(folder)) keys.push(key);
    return keys;
  };
  expect(await list()).toEqual([at]);
  control(place, { pretend: 'ls' });
  await expect(list()).rejects.toMatchObject({
    code: 'E_ARCHIVE_UNAVAILABLE',
    message: expect.stringContaining('core server is busy'),
  });
});

test('a part is read from a fetched file that does not stay, and not from what dead processes have left', async () => {
  const { place, file, bytes, archive } = await tape();
  await archive.put(KEY, { file }, put);
  const folder = folderOf('tape', KEY, place.path('scratch'));
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'kept'), randomBytes(bytes.length));
  const parts: Buffer[] = [];
  for await (const part of archive.read(KEY, { offset: 10, length: 20 })) parts.push(part);
  expect(Buffer.concat(parts).equals(bytes.subarray(10, 30))).toBe(true);
  expect(readdirSync(place.path('scratch'))).toEqual([]);
});

test('a name that the command language cannot carry is refused before anything happens', async () => {
  const { place, file, archive } = await tape();
  mkdirSync(place.path('hpss'), { recursive: true });
  await expect(archive.put('dir/new\nline.tar', { file }, put)).rejects.toMatchObject({
    code: 'E_NAME_UNSAFE',
  });
  expect(existsSync(place.path('hpss/calls.ndjson'))).toBe(false);
  rmSync(place.path('hpss'), { recursive: true });
});

test('names are quoted only where they must be', () => {
  expect(quoted('a/b-c_1.tar')).toBe('a/b-c_1.tar');
  expect(quoted('a b')).toBe('"a b"');
  expect(quoted('say "x" \\ $HOME `id`')).toBe('"say \\"x\\" \\\\ \\$HOME \\`id\\`"');
  expect(quoted('a;rm b')).toBe('"a;rm b"');
  for (const path of ['a\rb', 'a\0b', 'half \ud800'])
    expect(() => quoted(path)).toThrow(expect.objectContaining({ code: 'E_NAME_UNSAFE' }));
});

test('answers are found among the lines that mean nothing', () => {
  const noise = 'Username: x UID: 1\n** NOTICE: maintenance at 10:00 **\n';
  const size = (text: string): number | null => parseSize(Buffer.from(text), '/a/b.tar');
  expect(size(`${noise}     12345 /a/b.tar\n`)).toBe(12345);
  expect(size(`${noise}3 jobs wait for a drive\n     12345 /a/b.tar\n`)).toBe(12345);
  expect(size(`3 jobs wait for a drive\n     12345 b.tar\n`)).toBe(12345);
  expect(size('12345\n')).toBe(12345);
  expect(size(noise)).toBeNull();
  expect(parseSize(Buffer.from('3 jobs wait for a drive\n     12345 b \n'), '/a/b ')).toBe(12345);
  const sha256 = 'AB'.repeat(32);
  expect(parseHash(Buffer.from(`${sha256} sha256 /a\n`))).toEqual({
    algorithm: 'sha256',
    hex: sha256.toLowerCase(),
  });
  expect(parseHash(Buffer.from(`${'AB'.repeat(16)} md5 /a\n`))).toEqual({
    algorithm: 'md5',
    hex: 'ab'.repeat(16),
  });
  expect(parseHash(Buffer.from(`${noise}2c1743a391305fbf367df8e4f069f9f9 md5 /a [hsi]\n`))).toEqual({
    algorithm: 'md5',
    hex: '2c1743a391305fbf367df8e4f069f9f9',
  });
  expect(parseHash(Buffer.from('(none)   /a\xff'))).toBeNull();
  expect(parseHash(Buffer.from('(none)   /a\n2c1743a391305fbf367df8e4f069f9f9 of a notice\n'))).toBeNull();
  const listing = Buffer.from(`${noise}/a:\n  10 one.tar\n  0 sub/\n/a/sub:\n  20 two words.tar\n`);
  expect(parseListing(listing)).toEqual([
    { path: '/a/one.tar', size: 10 },
    { path: '/a/sub/two words.tar', size: 20 },
  ]);
});
