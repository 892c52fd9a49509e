import { execFileSync } from 'node:child_process';
import { closeSync, fstatSync, ftruncateSync, openSync, readFileSync, writeSync } from 'node:fs';
import { expect, onTestFinished, test, vi } from 'vitest';
import { allocatedParts } from '../../workers/content/tar/holes.ts';
import { type Extent, findExtents, type FoundParts } from '../../workers/content/tar/sparse.ts';
import { KeptFile } from '../../workers/content/unpack/kept-file.ts';
import { makePlace } from '../support/place.ts';

const PAGE = 4096;

async function sparse(size: number, parts: readonly [at: number, content: Buffer][]): Promise<number> {
  const fd = openSync((await makePlace()).path('file'), 'w+');
  onTestFinished(() => closeSync(fd));
  ftruncateSync(fd, size);
  for (const [at, content] of parts) writeSync(fd, content, 0, content.length, at);
  return fd;
}

const data = (pages: number): Buffer => Buffer.alloc(pages * PAGE, 'x');
const zeros = (pages: number): Buffer => Buffer.alloc(pages * PAGE);
const check = (): void => undefined;
const byReading = (fd: number, size: number): Extent[] =>
  findExtents(fd, size, { check, allocated: () => null });
const byAsking = (fd: number, size: number): Extent[] => findExtents(fd, size, { check });

const SIZE = 100 * 1024 * 1024 + 777;

test.each<[string, [number, Buffer][]]>([
  ['nothing but a hole', []],
  [
    'data at the start and at the end',
    [
      [0, data(1)],
      [SIZE - 5, Buffer.from('12345')],
    ],
  ],
  ['a byte in the middle of a page', [[50_000_001, Buffer.from('x')]]],
  ['written zeros between data', [[PAGE * 10, Buffer.concat([data(2), zeros(3), data(1)])]]],
  [
    'nothing but written zeros',
    [
      [PAGE * 7, zeros(500)],
      [PAGE * 5000, zeros(1)],
    ],
  ],
  ['many islands', Array.from({ length: 3000 }, (_, at) => [at * 8 * PAGE, data(1)])],
  ['more islands than a map may have', Array.from({ length: 9000 }, (_, at) => [at * 2 * PAGE, data(1)])],
])('%s: asking for what is allocated finds the same parts as reading it all', async (_, parts) => {
  const fd = await sparse(SIZE, parts);
  expect(allocatedParts(fd, SIZE, PAGE)).not.toBeNull();
  expect(byAsking(fd, SIZE)).toEqual(byReading(fd, SIZE));
});

test('wherever the search was stopped, it goes on from there and finds the same, also by the other way', async () => {
  const fd = await sparse(SIZE, [
    [PAGE * 3, data(200)],
    [PAGE * 500, Buffer.concat([data(70), zeros(60), data(1)])],
    [64 * PAGE * 20, data(64)],
    [SIZE - 5, Buffer.from('12345')],
  ]);
  const whole = byReading(fd, SIZE);
  const stops: FoundParts[] = [];
  const note = (found: FoundParts): void => void stops.push(structuredClone(found));
  const ways = [() => null, allocatedParts];
  for (const allocated of ways)
    findExtents(fd, SIZE, { check, allocated, notes: { before: null, offer: note } });
  expect(stops.length).toBeGreaterThan(300);
  expect(stops.some(({ open }) => open !== null)).toBe(true);
  // Of the many stops between two changes some are enough.
  const going = stops
    .filter(({ open }, index) => open !== null || index % 50 === 0)
    .flatMap((before) =>
      ways.map((allocated) =>
        findExtents(fd, SIZE, { check, allocated, notes: { before, offer: () => undefined } }),
      ),
    );
  for (const found of going) expect(found).toEqual(whole);
});

test('holes of a large file are not read', async () => {
  const size = 1e12;
  const fd = await sparse(size, [
    [0, data(3)],
    [7e11, data(2)],
  ]);
  const read = (): number => Number(/rchar: (\d+)/.exec(readFileSync('/proc/self/io', 'utf8'))?.[1]);
  const before = read();
  const start = Math.floor(7e11 / PAGE) * PAGE;
  expect(byAsking(fd, size)).toEqual([
    { offset: 0, length: 3 * PAGE },
    { offset: start, length: 7e11 % PAGE === 0 ? 2 * PAGE : 3 * PAGE },
  ]);
  expect(read() - before).toBeLessThan(5_000_000);
});

test('without perl, or on a file system whose answer is not trusted, it is read', async () => {
  const place = await makePlace();
  const fd = await sparse(SIZE, [[PAGE, data(1)]]);
  const module = new URL('../../workers/content/tar/holes.ts', import.meta.url).href;
  const script = `
    const { allocatedParts } = await import(${JSON.stringify(module)});
    console.log(allocatedParts(0, ${SIZE}, ${PAGE}));
  `;
  const args = ['--input-type=module', '-e', script];
  const answer = (stdin: number, env: Record<string, string>): string =>
    execFileSync(process.execPath, args, { stdio: [stdin, 'pipe', 'pipe'], env, encoding: 'utf8' }).trim();
  expect(answer(fd, { PATH: place.dir('no programs') })).toBe('null');
  const proc = openSync('/proc/self/status', 'r');
  onTestFinished(() => closeSync(proc));
  expect(answer(proc, { PATH: process.env.PATH ?? '' })).toBe('null');
});

test('what stands in a large hole goes also where nobody can tell what is allocated', async () => {
  const fd = await sparse(SIZE, [[70_000_000, Buffer.from('left')]]);
  vi.stubEnv('PATH', '/nonexistent'); // It is perl that tells.
  onTestFinished(() => void vi.unstubAllEnvs());
  const kept = new KeptFile(fd, SIZE);
  kept.hole(0, SIZE);
  expect(fstatSync(fd).size).toBe(0);
});
