import { chmodSync, existsSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { show } from '../../scripts/cli/commands/doctor.ts';
import { areasOf } from '../../scripts/doctor/areas.ts';
import { judgeClock } from '../../scripts/doctor/clock.ts';
import { compareVersions, type Finding } from '../../scripts/doctor/finding.ts';
import { judgeLimits, judgeNode, judgeUmask, judgeUser, judgeZone } from '../../scripts/doctor/host.ts';
import { mountOf, parseMounts } from '../../workers/content/mounts.ts';
import { judgeShare } from '../../scripts/doctor/paths.ts';
import { judgeQuota, parseLustreQuota, parseQuota } from '../../scripts/doctor/quotas.ts';
import { examine } from '../../scripts/doctor/run.ts';
import { openStore } from '../../workers/store.ts';
import { doctor, overrides } from '../support/doctor.ts';
import { makePlace } from '../support/place.ts';
import { runScript } from '../support/script.ts';
import { smallFileSystem } from '../support/small-file-system.ts';
import { until } from '../support/until.ts';

test('a healthy installation has no problem: every area answers, each finding has an id, what was seen and expected', async () => {
  const place = await makePlace({ service_user: 'somebody-else' });
  await (await openStore(place.config)).close();
  const { code, findings, of } = await doctor(place, [
    '--only',
    'host,redis,catalog,integrity,paths,quotas,archives',
  ]);
  expect(findings.filter(({ level }) => level === 'problem')).toEqual([]);
  expect(code).toBe(0);
  expect(new Set(findings.map(({ id }) => id.split('.')[0]))).toEqual(
    new Set(['host', 'redis', 'clock', 'catalog', 'paths', 'space', 'quota', 'archive']),
  );
  for (const one of findings) {
    expect(one.seen).not.toBe('');
    expect(one.expected).not.toBe('');
    expect(one.remedy === null).toBe(one.level === 'ok');
  }
  const named = findings.map(
    ({ id, subject, seen }) => `${id} ${subject} ${id.startsWith('archive') ? seen : ''}`,
  );
  expect(new Set(named).size).toBe(named.length);
  expect(of('host.user')?.level).toBe('warning');
  expect(of('catalog.integrity')?.seen).toMatch(/^ok/);
  expect(of('redis.latency')?.seen).toMatch(/median .* worst .* of 100 ECHOs/);
});

test('files with secrets that other users may read are a warning each, with what to type', async () => {
  const place = await makePlace();
  const dotenv = place.path('.env');
  writeFileSync(dotenv, '# nothing\n', { mode: 0o644 });
  const { private_key_file } = place.config.gateway.jwt;
  mkdirSync(dirname(private_key_file), { recursive: true });
  writeFileSync(private_key_file, 'secret', { mode: 0o640 });
  mkdirSync(dirname(place.config.catalog.path), { recursive: true });
  writeFileSync(place.config.catalog.path, '', { mode: 0o640 });
  const { of } = await doctor(place, ['--only', 'host'], { LONGSHORE_DOTENV: dotenv });
  expect(of('host.closed', '.env')).toMatchObject({
    level: 'warning',
    remedy: expect.stringContaining(`chmod o= ${dotenv}`),
  });
  expect(of('host.closed', 'gateway.jwt.private_key_file')).toMatchObject({
    level: 'warning',
    remedy: expect.stringContaining(`chmod go= ${private_key_file}`),
  });
  expect(of('host.closed', 'catalog.path')?.level).toBe('ok');
});

describe('folders and space', () => {
  test('a file in the place of a folder and a missing source are told by their keys', async () => {
    const place = await makePlace({
      paths: { scratch: '/dev/null' },
      logs: { register_ondemand: '/dev/full' },
    });
    const { code, of } = await doctor(place, ['--only', 'paths']);
    expect(code).toBe(1);
    expect(of('paths.folder', 'paths.scratch')).toMatchObject({
      level: 'problem',
      seen: '/dev/null is a file',
    });
    expect(of('paths.folder', 'logs.register_ondemand')?.level).toBe('problem');
    expect(of('paths.folder', 'paths.download_dir')?.level).toBe('ok');
    expect(of('paths.source', 'registration.RAW_DATA.source_dir')?.level).toBe('warning');
  });

  test('a file system that is read-only, and one that is full, are problems by their mount', async (context) => {
    const place = await makePlace();
    const closed = smallFileSystem(place.dir('closed'), ['size=1m', 'ro']);
    const full = smallFileSystem(place.dir('full'), ['size=1m', 'nr_inodes=16']);
    if (closed === null || full === null) return context.skip('NOT TESTED: this user may not mount');
    writeFileSync(join(full, 'fill'), Buffer.alloc(1000 * 1024));
    const { code, of } = await doctor(
      place,
      ['--only', 'paths'],
      overrides(place, {
        paths: { scratch: closed, RAW_DATA: { stage: full } },
      }),
    );
    expect(code).toBe(1);
    expect(of('paths.folder', 'paths.scratch')).toMatchObject({
      level: 'problem',
      seen: expect.stringContaining('mounted read-only'),
    });
    expect(of('space.free', full)?.level).toBe('problem');
    expect(of('space.inodes', full)?.level).toBe('ok');
    expect(of('space.free', closed)?.level).toBe('ok');
    expect(readdirSync(full)).toEqual(['fill']);
  });

  test('a folder that this user may not write is a problem', async (context) => {
    if (process.getuid?.() !== 0) return context.skip('NOT TESTED: needs root to become another user');
    const place = await makePlace();
    chmodSync(place.folder, 0o755);
    mkdirSync(place.path('data'), { mode: 0o755 });
    const program = { setpriv: '--reuid=65534 --regid=65534 --clear-groups'.split(' ') };
    const { stdout, stderr } = await runScript(
      'longshore.ts',
      ['doctor', '--json', '--only', 'paths'],
      place.env,
      program,
    );
    if (/EACCES/.test(stderr)) return context.skip('NOT TESTED: another user cannot read this checkout');
    const { findings } = JSON.parse(stdout) as { findings: Finding[] };
    const scratch = findings.find(({ subject }) => subject === 'paths.scratch');
    expect(scratch).toMatchObject({ level: 'problem', seen: expect.stringContaining('EACCES') });
  });

  test('below the share it is a warning, below half of it or without any room a problem', () => {
    const share = (percent: number, none: string | null = null) =>
      judgeShare('space.free', '/', { share: percent, limit: 10, key: '', free: '', none }).level;
    const levels = [share(11), share(9), share(4), share(50, 'more than 64 MiB free')];
    expect(levels).toEqual(['ok', 'warning', 'problem', 'problem']);
  });

  test('an empty file system that is smaller than what tasks leave free is told so, and not by its share', async (context) => {
    const place = await makePlace();
    const small = smallFileSystem(place.dir('small'), ['size=1m']);
    if (small === null) return context.skip('NOT TESTED: this user may not mount');
    const { of } = await doctor(
      place,
      ['--only', 'paths'],
      overrides(place, { paths: { scratch: small }, stage: { reserve_bytes: 2 ** 21 } }),
    );
    expect(of('space.free', small)).toMatchObject({
      level: 'problem',
      expected: 'more than 2.0 MiB free (stage.reserve_bytes)',
      remedy: expect.stringContaining('longshore datasets --staged'),
    });
  });

  test('the mount of a path is found by its text, blanks and hidden mounts included', () => {
    const mounts = parseMounts(
      [
        '22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw',
        '30 22 0:40 / /data\\040two rw,nosuid - nfs4 server:/export ro,vers=4.2',
        '31 22 0:41 / /data\\040two rw - tmpfs tmpfs rw',
      ].join('\n'),
    );
    expect(mountOf('/data two/x', mounts)?.type).toBe('tmpfs');
    expect(mountOf('/data twofold', mounts)?.type).toBe('ext4');
    expect(mounts[1]?.options.has('ro')).toBe(true);
  });
});

function program(folder: string, name: string, body: string): void {
  writeFileSync(join(folder, name), `#!/bin/sh\n${body}\n`, { mode: 0o755 });
}

test('a program that is missing, too old, failing or silent is a problem by its name', async () => {
  const place = await makePlace({ doctor: { answer_seconds: 20 } });
  const bin = place.dir('bin');
  for (const name of ['rm', 'chmod', 'cp']) symlinkSync(`/usr/bin/${name}`, join(bin, name));
  program(bin, 'sync', 'echo "sync (GNU coreutils) 8.20"');
  program(bin, 'find', 'exit 3');
  program(bin, 'fastqc', 'exec /bin/sleep 1000');
  program(bin, 'multiqc', 'echo "multiqc, version 1.14"');
  const { code, of } = await doctor(place, ['--only', 'tools'], { PATH: bin });
  expect(code).toBe(1);
  expect(of('tools.program', 'perl')).toMatchObject({ level: 'problem', seen: 'not found on PATH' });
  expect(of('tools.program', 'sync')).toMatchObject({
    level: 'problem',
    seen: expect.stringContaining('8.20'),
  });
  expect(of('tools.program', 'find')).toMatchObject({
    level: 'problem',
    seen: expect.stringContaining('does not run'),
  });
  expect(of('tools.program', 'fastqc')?.level).toBe('problem');
  expect(of('tools.program', 'multiqc')).toMatchObject({
    level: 'ok',
    seen: expect.stringContaining('1.14'),
  });
  expect(of('tools.program', 'rm')?.level).toBe('ok');
  // REDIS_URL is set, so there is no need of an own one; nor of an archive that nobody uses.
  expect(of('tools.program', 'redis-server')).toBeUndefined();
  expect(of('tools.program', 'hsi')).toBeUndefined();
});

describe('quotas', () => {
  const said = [
    'Disk quotas for user longshore (uid 1000): ',
    '     Filesystem  blocks   quota   limit   grace   files   quota   limit   grace',
    'server:/home 9500 10000 12000 0 120* 100 200 1700000000',
  ].join('\n');

  test('both outputs are understood', () => {
    expect(parseQuota(said)).toEqual([
      { file_system: 'server:/home', what: 'space', used: 9500 * 1024, limit: 10000 * 1024 },
      { file_system: 'server:/home', what: 'files', used: 120, limit: 100 },
    ]);
    expect(parseQuota('Disk quotas for user root (uid 0): none')).toEqual([]);
    expect(parseLustreQuota('/scratch [2048*] 1024 2048 - 7 0 0 -')).toEqual([
      { file_system: '/scratch', what: 'space', used: 2048 * 1024, limit: 1024 * 1024 },
    ]);
  });

  test('what quota answers is judged: nearly full a warning, exceeded a problem', async () => {
    const place = await makePlace();
    const bin = place.dir('bin');
    program(bin, 'quota', `cat <<'END'\n${said}\nEND\nexit 1`);
    const { code, findings } = await doctor(place, ['--only', 'quotas'], { PATH: `${bin}:/usr/bin:/bin` });
    expect(findings.map(({ subject, level }) => `${subject} ${level}`)).toEqual([
      'server:/home space warning',
      'server:/home files problem',
    ]);
    expect(code).toBe(1);
    const one = { file_system: 'a', what: 'space' as const, used: 50, limit: 100 };
    expect(judgeQuota(one).level).toBe('ok');
  });
});

describe('clock and host', () => {
  test('a clock that is off is told with its direction; the time of the question itself is none', () => {
    const judged = (theirs: number) =>
      judgeClock('clock.redis', 'Redis', { before: 1000, theirs, after: 1500 }, 2);
    expect(judged(1200)).toMatchObject({ level: 'ok', seen: 'the same as ours' });
    expect(judged(3000)).toMatchObject({ level: 'ok' });
    expect(judged(6500)).toMatchObject({ level: 'warning', seen: '5.0 s ahead of ours' });
    expect(judged(1000 - 3_600_000)).toMatchObject({ level: 'problem', seen: '1 h 00 min behind ours' });
  });

  test('an old Node, an open umask, few files, another user and an unknown zone are told', () => {
    expect(judgeNode('20.19.1', '>=22.18').level).toBe('problem');
    expect(judgeNode('24.1.0', '>=22.18').level).toBe('ok');
    expect([0o022, 0o002, 0o027, 0o000, 0o777].map((mask) => judgeUmask(mask).level)).toEqual([
      'ok',
      'ok',
      'ok',
      'warning',
      'problem',
    ]);
    expect(judgeUser('me', 1000, 'longshore').level).toBe('warning');
    expect(judgeUser('longshore', 1000, 'longshore').level).toBe('ok');
    expect(judgeUser('root', 0, 'root').level).toBe('warning');
    const limits = [
      'Limit                     Soft Limit           Hard Limit           Units     ',
      'Max processes             100                  unlimited            processes ',
      'Max open files            1024                 4096                 files     ',
    ].join('\n');
    expect([...judgeLimits(limits, 8)].map(({ level }) => level)).toEqual(['warning', 'problem']);
    expect(judgeZone('Europe/Nowhere').level).toBe('warning');
    expect(judgeZone('Europe/Berlin').level).toBe('ok');
    expect(compareVersions('1.10', '1.9')).toBeGreaterThan(0);
  });
});

test('an area that hangs costs its own answer only, and its whole process group ends', async () => {
  const { config } = await makePlace({ doctor: { answer_seconds: 3 } });
  const areas = areasOf(config, { roundTrip: false }).filter(({ name }) =>
    ['host', 'redis', 'catalog'].includes(name),
  );
  const findings = await examine(areas, join(import.meta.dirname, '../fixtures/hanging-area.ts'));
  const seen = Object.fromEntries(findings.map(({ id, seen: text }) => [id, text]));
  expect(seen['host.answer']).toContain('TypeError: error of the check itself');
  expect(seen['redis.first']).toBe('seen');
  expect(seen['redis.answer']).toBeUndefined();
  expect(seen['catalog.first']).toBe('seen');
  expect(seen['catalog.answer']).toBe('no answer in 3 s');
  const pids = (findings.find(({ id }) => id === 'pid')?.subject ?? '').split(' ');
  expect(pids).toHaveLength(2);
  await until(() => pids.every((pid) => !existsSync(`/proc/${pid}/exe`)), { what: 'the group to end' });
});

test('a terminal gets a table in colours with the remedies below, everybody else plain lines', () => {
  const findings: Finding[] = [
    { id: 'a.b', subject: null, level: 'ok', seen: 'fine', expected: 'fine', remedy: null },
    { id: 'c.d', subject: 'x', level: 'problem', seen: 'bad\nline', expected: 'good', remedy: 'mend it' },
  ];
  const texts: Record<string, string> = {};
  for (const isTTY of [true, false]) {
    let text = '';
    const write = (more: string): void => {
      text += more;
    };
    show({ write, isTTY, columns: 120 }, findings);
    texts[String(isTTY)] = text;
  }
  expect(texts.false).toBe(
    'ok a.b: fine\nproblem c.d (x): bad\\nline; expected good; remedy: mend it\n1 ok, 0 warnings, 1 problem\n',
  );
  expect(texts.true).toContain('LEVEL');
  expect(texts.true).toContain('remedy:   mend it');
});

test('an unknown area is refused by name', async () => {
  const place = await makePlace();
  const { code, stderr } = await runScript('longshore.ts', ['doctor', '--only', 'redis,moon'], place.env);
  expect(code).toBe(2);
  expect(stderr).toContain('"moon" is none of');
});
