import { randomFillSync } from 'node:crypto';
import { closeSync, mkdirSync, openSync, writeSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** The data sets of the benchmark. `scale` shrinks sizes (A) or counts (B, C). */
export const SETS = {
  A: '4 files of 1 GiB',
  B: '50,000 files of 16 KiB in 500 folders',
  C: '2,000 files of 64 KiB to 8 MiB',
} as const;

export type SetName = keyof typeof SETS;

const pool = Buffer.alloc(32 * 1024 * 1024);

/** Gives the number of bytes. */
export function makeSet(name: SetName, folder: string, scale: number): number {
  randomFillSync(pool);
  mkdirSync(folder, { recursive: true });
  let total = 0;
  for (const [path, size] of MAKERS[name](scale)) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeRandom(join(folder, path), size);
    total += size;
  }
  return total;
}

type Files = Iterable<readonly [path: string, size: number]>;

const MAKERS: Readonly<Record<SetName, (scale: number) => Files>> = {
  A: (scale) => [0, 1, 2, 3].map((index) => [`lane-${index}.bin`, Math.round(1024 ** 3 * scale)] as const),
  B: (scale) => filesIn(Math.round(50_000 * scale), () => 16 * 1024),
  // Many small, few large, 0.98 MB on average: spread by the golden ratio, so that every run has the same files.
  C: (scale) =>
    filesIn(Math.round(2000 * scale), (index) => {
      const spread = (index * 0.618_033_988_749_895) % 1;
      return 64 * 1024 + Math.round((8 * 1024 ** 2 - 64 * 1024) * spread ** 7.7);
    }),
};

function filesIn(count: number, size: (index: number) => number): Files {
  return Array.from({ length: count }, (_, index) => {
    const folder = `run-${String(index % Math.min(500, count)).padStart(3, '0')}`;
    return [`${folder}/reads-${index}.bin`, size(index)] as const;
  });
}

/** Incompressible and different in every file: a stretch of the pool, each time from another place. */
function writeRandom(path: string, size: number): void {
  const fd = openSync(path, 'w');
  for (let left = size; left > 0; ) {
    const start = Math.floor(Math.random() * (pool.length / 2));
    left -= writeSync(fd, pool, start, Math.min(left, pool.length / 2));
  }
  closeSync(fd);
}
