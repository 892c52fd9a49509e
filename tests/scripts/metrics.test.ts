import { chmodSync, existsSync, symlinkSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { parseDf, parseLustreQuota, parseQuota } from '../../scripts/metrics/parse.ts';
import { openStore } from '../../workers/store.ts';
import { makePlace, type Place } from '../support/place.ts';
import { runScript } from '../support/script.ts';

const GiB = 1024 ** 3;
const TiB = 1024 ** 4;

const SITE_QUOTA = `
Current disk usage of scauser

Filesystem      usage      quota      percent
home            4.0G       100G       4%
sda             1.5T*      1T         150%
slate           -          800.5M     0%
Projects
research  x     12G        1T
`;

const LINUX_QUOTA = `Disk quotas for user longshore (uid 1000):
     Filesystem  blocks   quota   limit   grace   files   quota   limit   grace
server:/home    9500*   9000   12000    6days     120*     100     200    none
/dev/sdb1         100       0       0               7       0       0
`;

const LUSTRE_QUOTA = `Disk quotas for usr scauser (uid 740001):
     Filesystem  kbytes   quota   limit   grace   files   quota   limit   grace
     /N/scratch 107374182401* 0 107374182400       -  123456       0 6000000       -
uid 740001 is using default block quota setting
`;

const LUSTRE_WRAPPED = `Disk quotas for usr scauser (uid 740001):
     Filesystem  kbytes   quota   limit   grace   files   quota   limit   grace
/N/a/very/long/mount/point
                [2048*]     0    1024       -      -       0       -       -
`;

const DF = `          Used         Avail   IUsed   Inodes Mounted on
   15377887232   82415407104  517384 16777216 /
          4096             0       -        - /mnt/with blank
           100           300       5        0 /boot/efi
`;

describe('recorded outputs', () => {
  test('quota of a site: sizes are powers of 1024, an asterisk marks what is exceeded, a dash is 0', () => {
    expect(parseQuota(SITE_QUOTA)).toEqual([
      { measurement: 'home', usage: 4 * GiB, limit: 100 * GiB },
      { measurement: 'sda', usage: 1.5 * TiB, limit: TiB },
      { measurement: 'slate', usage: 0, limit: Math.round(800.5 * 1024 ** 2) },
    ]);
  });

  test('quota of Linux: blocks of 1 KiB and files, the enforced limit, grace times in between or left out', () => {
    expect(parseQuota(LINUX_QUOTA)).toEqual([
      { measurement: 'server:/home', usage: 9500 * 1024, limit: 12_000 * 1024 },
      { measurement: 'server:/home files', usage: 120, limit: 200 },
      { measurement: '/dev/sdb1', usage: 100 * 1024, limit: 0 },
      { measurement: '/dev/sdb1 files', usage: 7, limit: 0 },
    ]);
    expect(parseQuota('Disk quotas for user root (uid 0): none\n')).toEqual([]);
  });

  test('lfs quota: two rows, exceeded marks, brackets, dashes and wrapped names', () => {
    expect(parseLustreQuota(LUSTRE_QUOTA)).toEqual([
      { measurement: '/N/scratch', usage: 107_374_182_401 * 1024, limit: 107_374_182_400 * 1024 },
      { measurement: '/N/scratch files', usage: 123_456, limit: 6_000_000 },
    ]);
    expect(parseLustreQuota(LUSTRE_WRAPPED)).toEqual([
      { measurement: '/N/a/very/long/mount/point', usage: 2048 * 1024, limit: 1024 * 1024 },
      { measurement: '/N/a/very/long/mount/point files', usage: 0, limit: 0 },
    ]);
    expect(parseLustreQuota('lfs quota: cannot resolve path')).toEqual([]);
  });

  test('df: what this user may fill, and files where the file system counts them', () => {
    expect(parseDf(DF)).toEqual([
      { measurement: '/', usage: 15_377_887_232, limit: 15_377_887_232 + 82_415_407_104 },
      { measurement: '/ files', usage: 517_384, limit: 16_777_216 },
      { measurement: '/mnt/with blank', usage: 4096, limit: 4096 },
      { measurement: '/boot/efi', usage: 100, limit: 400 },
    ]);
  });
});

/** A host with these programs alone, whatever is installed here. */
function host(place: Place, programs: Record<string, string>): Record<string, string> {
  const bin = place.dir('bin');
  for (const [name, text] of Object.entries(programs)) {
    writeFileSync(join(bin, name), `#!/bin/sh\n${text}\n`);
    chmodSync(join(bin, name), 0o755);
  }
  for (const name of ['cat', 'sleep']) symlinkSync(join('/bin', name), join(bin, name));
  return { ...place.env, PATH: bin };
}

const says = (text: string, code = 0): string => `cat <<'END'\n${text}END\nexit ${code}`;

async function setUp(programs: Record<string, string>, metrics: Record<string, unknown> = {}) {
  const place = await makePlace({
    service_user: 'scauser',
    metrics: { lustre: ['/N/scratch'], df: ['/'], ...metrics },
  });
  const env = host(place, programs);
  return { place, run: (...args: string[]) => runScript('metrics.ts', args, env) };
}

interface Answer {
  metrics: { measurement: string; subject: string; usage: number; limit: number; tags: string[] }[];
  sources: { source: string; state: string; why: string | null }[];
}

test('one run asks all three, with this host as subject, and keeps what they say in the records', async () => {
  const { place, run } = await setUp({
    // It ends with 1 when one is exceeded.
    quota: says(SITE_QUOTA, 1),
    lfs: `[ "$*" = "quota -u scauser /N/scratch" ] || exit 9\n${says(LUSTRE_QUOTA)}`,
    df: says(DF),
  });
  const dry = await run('--dry-run', '--json');
  expect(dry.code).toBe(0);
  const { metrics } = JSON.parse(dry.stdout) as Answer;
  expect(metrics.map(({ measurement }) => measurement)).toEqual([
    'sda',
    '/N/scratch',
    '/N/scratch files',
    '/',
    '/ files',
    '/mnt/with blank',
    '/boot/efi',
  ]);
  expect(metrics[0]).toEqual({
    measurement: 'sda',
    subject: expect.stringMatching(new RegExp(`^${hostname()}`)),
    usage: 1.5 * TiB,
    limit: TiB,
    tags: [],
  });
  expect(existsSync(place.config.catalog.path)).toBe(false);
  expect((await run()).stdout).toMatch(/sda .*150\.0 %/);
  expect((await run()).code).toBe(0);
  const { runs } = JSON.parse((await run('--recorded', '--json')).stdout) as { runs: Answer[] };
  expect(runs.map((one) => one.metrics)).toEqual([metrics, metrics]);
  const store = await openStore(place.config);
  expect(await store.records.note('metrics')).toEqual(runs);
  await store.close();
});

test('a program that fails is told with code 1 and costs the others nothing; one that is missing is no failure', async () => {
  const { run } = await setUp({ lfs: 'echo "cannot reach the MDS" >&2; exit 2', df: says(DF) });
  const { code, stdout } = await run('--json');
  expect(code).toBe(1);
  const { metrics, sources } = JSON.parse(stdout) as Answer;
  expect(metrics).toHaveLength(4);
  expect(sources).toEqual([
    { source: 'quota', state: 'absent', why: null },
    { source: 'lfs quota -u scauser /N/scratch', state: 'failed', why: 'exit code 2: cannot reach the MDS' },
    { source: expect.stringMatching(/^df /), state: 'answered', why: null },
  ]);
});

test('a host with quota and without quotas has nothing to tell, and that is no failure', async () => {
  const { run } = await setUp({ quota: 'exit 1', df: says(DF) }, { lustre: [] });
  const { code, stdout, stderr } = await run('--json');
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  const { sources } = JSON.parse(stdout) as Answer;
  expect(sources[0]).toEqual({ source: 'quota', state: 'answered', why: null });
});

test('of a file system that two programs measure the quota counts, and df where there is no quota', async () => {
  const SCRATCH = '  100  300  5  10 /N/scratch\n';
  const df = ['/N/scratch'];
  const { run } = await setUp({ lfs: says(LUSTRE_QUOTA), df: says(SCRATCH) }, { df });
  const { metrics } = JSON.parse((await run('--dry-run', '--json')).stdout) as Answer;
  expect(metrics).toMatchObject([
    { measurement: '/N/scratch', usage: 107_374_182_401 * 1024 },
    { measurement: '/N/scratch files', usage: 123_456 },
  ]);
  const without = await setUp({ df: says(SCRATCH) }, { df });
  expect(JSON.parse((await without.run('--dry-run', '--json')).stdout)).toMatchObject({
    metrics: [
      { measurement: '/N/scratch', usage: 100, limit: 400 },
      { measurement: '/N/scratch files', usage: 5, limit: 10 },
    ],
  });
});

test('a program that hangs is given up after its time', async () => {
  const { run } = await setUp({ df: 'exec sleep 600' }, { lustre: [], answer_seconds: 0.5 });
  const { code, stdout } = await run('--json');
  expect(code).toBe(1);
  expect((JSON.parse(stdout) as Answer).sources.at(-1)).toMatchObject({ why: 'no answer within 0.5 s' });
});

test('which rows of quota are kept is configuration', async () => {
  const { run } = await setUp(
    { quota: says(LINUX_QUOTA), df: says(DF) },
    { quota: null, lustre: [], df: [] },
  );
  const { metrics } = JSON.parse((await run('--dry-run', '--json')).stdout) as Answer;
  expect(metrics.map(({ measurement }) => measurement)).toEqual([
    'server:/home',
    'server:/home files',
    '/dev/sdb1',
    '/dev/sdb1 files',
  ]);
});
