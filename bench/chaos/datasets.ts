import { randomFillSync } from 'node:crypto';
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { writeSample } from '../../scripts/enqueue-test/sample.ts';
import type { Random } from './random.ts';

/** Names that programs stumble over which put them into a command, a pattern, a path or a line. */
const ODD = [
  'plain',
  'with blanks',
  'it\'s "quoted"',
  '-rf',
  '--help',
  'semi;colon & pipe|',
  '$HOME `id` $(id)',
  'star*[a-z]?{x}',
  'back\\slash',
  'line\nbreak',
  'tab\tbed',
  'ünïcödé 測試 🧬',
  '%s%n%00',
  'trailing dot.',
  '.hidden',
  'x'.repeat(120),
] as const;

export const datasetName = (number: number): string => {
  const odd = ODD[number % ODD.length] as string;
  // A folder that begins with a dot, or holds a control character, is made inside of the dataset only.
  const name = /^\.|[\n\t]/.test(odd) ? 'plain' : odd;
  return `${name} ${number}`;
};

const pool = randomFillSync(Buffer.alloc(4 * 1024 ** 2));

/**
 * A small dataset with everything that has ever been trouble: odd names, empty files and folders, links that lead nowhere,
 * one file that takes more than a moment.
 */
export async function makeDataset(
  folder: string,
  number: number,
  random: Random,
  reads: boolean,
): Promise<void> {
  if (reads) await writeSample(folder, { size: 20_000, files: 2, fastq: true });
  const file = (path: string, size: number): void => {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    const start = random.below(pool.length - size);
    writeFileSync(join(folder, path), pool.subarray(start, start + size));
  };
  mkdirSync(join(folder, 'empty folder'), { recursive: true });
  file('empty', 0);
  file('large.bin', 1024 ** 2 + random.below(2 * 1024 ** 2));
  for (const [at, name] of ODD.entries()) {
    // The number of another: no two datasets may be the same, or a mix-up would pass.
    file(join(at % 3 === 0 ? 'deep er/and "deeper"' : '', `${name}.${number}`), random.below(40_000));
  }
  symlinkSync('large.bin', join(folder, 'link'));
  symlinkSync('/nowhere/at all', join(folder, 'dangling'));
}
