import { execFileSync, spawn } from 'node:child_process';
import { closeSync, openSync, readdirSync, readlinkSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { once } from 'node:events';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { expect, onTestFinished, test, vi } from 'vitest';
import { humanBytes } from '../../workers/content/human-bytes.ts';
import { reserveSpace, spaceOn } from '../../workers/content/space.ts';
import { makePlace, type Place } from '../support/place.ts';
import { smallFileSystem } from '../support/small-file-system.ts';
import { killedUnnoticed } from '../support/unnoticed.ts';

const free = (place: Place): number => {
  const { bavail, bsize } = statfsSync(place.folder);
  return bavail * bsize;
};

const request = (place: Place, bytes: number, keep = 0) => ({
  folder: place.path('not/there/yet'),
  bytes,
  keep,
  state_dir: place.dir('state'),
  holder: 'task-1',
});

/** Rows of the file of promises, after a change of them. */
function changeBook(place: Place, change: string): number {
  const book = new DatabaseSync(place.path('state/reservations.db'));
  book.exec(change);
  const { count } = book.prepare('select count(*) as count from reservation').get() as { count: number };
  book.close();
  return count;
}

/** Files of promises that this process has open. */
const openBooks = (): string[] =>
  readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      const path = readlinkSync(`/proc/self/fd/${fd}`);
      return path.endsWith('reservations.db') ? [path] : [];
    } catch {
      return []; // The folder itself, which is closed by now.
    }
  });

test('a refusal says how much is needed and how much there is', async () => {
  const place = await makePlace();
  const need = free(place) * 2;
  expect(() => reserveSpace(request(place, need, 1000))).toThrow(
    expect.objectContaining({
      code: 'E_NO_SPACE',
      message: expect.stringContaining(humanBytes(need)) as string,
      fields: expect.objectContaining({
        need,
        keep: 1000,
        reserved: 0,
        path: place.path('not/there/yet'),
      }) as object,
    }),
  );
  reserveSpace(request(place, 1)).release();
  expect(openBooks()).toEqual([]);
});

test('a folder in its place is no full disk, where there is no limit to files', async (context) => {
  const place = await makePlace();
  const folder = smallFileSystem(place.dir('state'), ['size=1m', 'nr_inodes=0']);
  if (folder === null) return context.skip('NOT TESTED: a tmpfs cannot be mounted here');
  place.dir('state/reservations.db');
  expect(() => reserveSpace(request(place, 1))).toThrow(expect.objectContaining({ code: 'E_IO' }));
});

test('each file system has its own promises, to the last byte', async (context) => {
  const place = await makePlace();
  const folder = smallFileSystem(place.dir('other'), ['size=1m']);
  if (folder === null) return context.skip('NOT TESTED: a tmpfs cannot be mounted here');
  const here = reserveSpace(request(place, Math.round(free(place) * 0.7)));
  const { bavail, bsize } = statfsSync(folder);
  const ask = (bytes: number) => reserveSpace({ ...request(place, bytes), folder });
  expect(() => ask(bavail * bsize + 1)).toThrow(expect.objectContaining({ code: 'E_NO_SPACE' }));
  ask(bavail * bsize).release();
  here.release();
});

test.for([
  ['its first page', ['size=4k'], 0],
  ['a further page', ['size=48k'], 1],
  ['inodes', ['size=1m', 'nr_inodes=3'], 1],
] as const)(
  'a state folder without room for %s is told as such, and costs no work that is under way',
  async ([, options, promised], context) => {
    const place = await makePlace();
    const folder = smallFileSystem(place.dir('state'), options);
    if (folder === null) return context.skip('NOT TESTED: a tmpfs cannot be mounted here');
    const held = Array.from({ length: promised }, () => reserveSpace(request(place, 1)));
    const filled = fill(folder);
    expect(() => reserveSpace(request(place, 1))).toThrow(
      expect.objectContaining({
        code: 'E_NO_SPACE',
        class: 'operator',
        message: expect.stringContaining(join(folder, 'reservations.db')) as string,
      }),
    );
    for (const one of held) one.spent(1);
    for (const one of held) one.release();
    for (const file of filled) rmSync(file);
    execFileSync('mount', ['-o', 'remount,size=1m', folder]);
    reserveSpace(request(place, 1)).release();
  },
);

/** Until neither a byte nor a name is left. */
function fill(folder: string): string[] {
  const files: string[] = [];
  try {
    for (;;) {
      const file = join(folder, `other-${files.length}`);
      closeSync(openSync(file, 'w'));
      files.push(file);
      writeFileSync(file, Buffer.alloc(4096));
    }
  } catch {
    return files;
  }
}

test('what is promised to one is not given to another, until it is released', async () => {
  const place = await makePlace();
  const most = Math.round(free(place) * 0.7);
  const first = reserveSpace(request(place, most));
  expect(() => reserveSpace(request(place, most))).toThrow(expect.objectContaining({ code: 'E_NO_SPACE' }));
  first.release();
  first.release();
  first.spent(1);
  reserveSpace(request(place, most)).release();
});

test('what a killed process was promised is free again, also before its parent has noticed', async () => {
  const place = await makePlace();
  const most = Math.round(free(place) * 0.7);
  await killedUnnoticed(`
    const { reserveSpace } = await import(${JSON.stringify(import.meta.resolve('../../workers/content/space.ts'))});
    reserveSpace(${JSON.stringify(request(place, most))});
  `);
  reserveSpace(request(place, most)).release();
});

test('what must stay free is promised to nobody', async () => {
  const place = await makePlace();
  const [most, keep] = [0.7, 0.5].map((part) => Math.round(free(place) * part)) as [number, number];
  expect(() => reserveSpace(request(place, most, keep))).toThrow(
    expect.objectContaining({ code: 'E_NO_SPACE' }),
  );
  reserveSpace(request(place, most)).release();
});

test('what is written needs no promise any more', async () => {
  const place = await makePlace();
  const most = Math.round(free(place) * 0.7);
  const first = reserveSpace(request(place, most));
  first.spent(most);
  reserveSpace(request(place, most)).release();
  first.release();
});

test('what is written needs no promise although the clock is put back by an hour', async () => {
  const place = await makePlace();
  const most = Math.round(free(place) * 0.7);
  const first = reserveSpace(request(place, most));
  vi.useFakeTimers({ toFake: ['Date', 'performance'] });
  onTestFinished(() => void vi.useRealTimers());
  first.spent(1);
  // Written down once a second, lest each chunk be a write of its own.
  first.spent(2);
  expect(spaceOn(request(place, 0)).reserved).toBe(most - 1);
  vi.advanceTimersByTime(2000);
  vi.setSystemTime(Date.now() - 3_600_000);
  first.spent(most + 1); // More than it was taken for, which is no promise to others.
  expect(spaceOn(request(place, 0)).reserved).toBe(0);
  reserveSpace(request(place, most)).release();
  first.release();
});

test('a promise of another process counts while that lives, and not when it was killed', async () => {
  const place = await makePlace();
  const most = Math.round(free(place) * 0.7);
  const module = new URL('../../workers/content/space.ts', import.meta.url).href;
  const script = `
    const { reserveSpace } = await import(${JSON.stringify(module)});
    reserveSpace(JSON.parse(process.argv[1]));
    console.log('reserved');
    setInterval(() => undefined, 1000);
  `;
  const args = ['--input-type=module', '-e', script, JSON.stringify(request(place, most))];
  const holder = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  await once(holder.stdout, 'data');
  expect(() => reserveSpace(request(place, most))).toThrow(expect.objectContaining({ code: 'E_NO_SPACE' }));
  holder.kill('SIGKILL');
  await once(holder, 'close');
  reserveSpace(request(place, most)).release();
});

test('a process that has got the number of a dead one takes over none of its promises', async () => {
  const place = await makePlace();
  const most = Math.round(free(place) * 0.7);
  const first = reserveSpace(request(place, most));
  expect(changeBook(place, "update reservation set started = '1'")).toBe(1);
  expect(spaceOn(request(place, 0)).reserved).toBe(0);
  reserveSpace(request(place, most)).release();
  expect(changeBook(place, '')).toBe(0); // Struck off, or the file would grow with each kill.
  first.release();
});

test('promises of another host, of which only its writes are seen, neither count nor go', async () => {
  const place = await makePlace();
  const most = Math.round(free(place) * 0.7);
  const first = reserveSpace(request(place, most));
  changeBook(place, "update reservation set host = 'elsewhere', started = '1'");
  expect(spaceOn(request(place, 0)).reserved).toBe(0);
  reserveSpace(request(place, most)).release();
  expect(changeBook(place, '')).toBe(1);
  first.release();
});

test('of processes that ask again and again at once, only as many get space as there is', async () => {
  const place = await makePlace();
  const share = Math.round(free(place) * 0.3);
  const module = new URL('../../workers/content/space.ts', import.meta.url).href;
  const script = `
    const { reserveSpace } = await import(${JSON.stringify(module)});
    const held = [];
    const ask = () => {
      try { held.push(reserveSpace(JSON.parse(process.argv[1]))); } catch (error) { if (error.code !== 'E_NO_SPACE') throw error; }
    };
    process.stdin.once('data', () => {
      for (let index = 0; index < 200; index++) ask();
      console.log(held.length);
    }).on('end', () => process.exit());
    console.log('here');
  `;
  const args = ['--input-type=module', '-e', script, JSON.stringify(request(place, share))];
  const all = Array.from({ length: 4 }, () =>
    spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'inherit'] }),
  );
  const said = (): Promise<string[]> =>
    Promise.all(
      all.map(async (child) =>
        String((await Promise.race([once(child.stdout, 'data'), once(child, 'close')]))[0]),
      ),
    );
  expect(await said()).toEqual(Array(4).fill('here\n'));
  for (const child of all) child.stdin.write('go');
  const counts = (await said()).map(Number);
  for (const child of all) child.stdin.end();
  await Promise.all(all.map((child) => once(child, 'close')));
  expect(counts.reduce((sum, count) => sum + count, 0)).toBe(3);
});

test.each([
  [0, '0 B'],
  [1023, '1023 B'],
  [1024, '1.0 KiB'],
  [1_048_530, '1.0 MiB'],
  [12_345_678_901, '11.5 GiB'],
])('%d bytes are shown as %s', (bytes, shown) => {
  expect(humanBytes(bytes)).toBe(shown);
});

test('free space is what df shows to this user', async () => {
  const place = await makePlace();
  const df = Number(
    execFileSync('df', ['-B1', '--output=avail', place.folder], { encoding: 'utf8' }).split('\n')[1],
  );
  expect(Math.abs(df - free(place)) / df).toBeLessThan(0.05);
});

test('a look tells what a request would find, and leaves no trace', async () => {
  const place = await makePlace();
  const { folder, keep, state_dir } = request(place, 0, 1000);
  const before = spaceOn({ folder, keep, state_dir });
  expect(readdirSync(state_dir)).toEqual([]);
  expect(before).toMatchObject({ reserved: 0, keep: 1000 });
  expect(before.available).toBe(before.free - 1000);
  const promised = reserveSpace(request(place, 5000));
  const seen = readdirSync(state_dir);
  const after = spaceOn({ folder, keep, state_dir });
  expect(after).toMatchObject({ reserved: 5000, device: before.device, available: after.free - 6000 });
  expect(readdirSync(state_dir)).toEqual(seen);
  promised.release();
  expect(spaceOn({ folder, keep, state_dir }).reserved).toBe(0);
});
