import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { makePlace } from '../support/place.ts';

interface Answer {
  readonly results: {
    readonly reads_per_byte: number;
    readonly writes_per_byte: number;
    readonly reference: { readonly read: number };
    readonly longshore: { readonly peak: number };
    readonly bytes: number;
  }[];
}

test('landing reads each byte twice and writes it three times, as the kernel counts; the reference reads it eight times', async () => {
  const place = await makePlace();
  const bench = join(import.meta.dirname, '../../bench/run.ts');
  const args = [bench, 'ingest', '--sets', 'A', '--scale', '0.05', '--json', '--dir', place.folder];
  const { results } = JSON.parse(execFileSync(process.execPath, args, { encoding: 'utf8' })) as Answer;
  const [result] = results;
  if (result === undefined) throw new Error('the benchmark gave no result');
  expect(result.reads_per_byte).toBeLessThanOrEqual(2.05);
  expect(result.writes_per_byte).toBeLessThanOrEqual(3.05);
  expect(result.reference.read / result.bytes).toBeGreaterThan(7.9);
  expect(result.longshore.peak).toBeLessThan(400_000_000);
});
