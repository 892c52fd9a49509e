import type { Catalog } from '../../workers/catalog/contract.ts';
import type { FileRow } from '../../workers/dataset/types.ts';

export const MILLION = 1_000_000;

export interface MillionReport {
  rows_per_second: number;
  seen: number;
  sum: number;
  swept: number;
  peak_rss_mib: number;
}

const numbered = (n: number): FileRow => ({
  path: `run/lane_${n % 8}/sample_${String(n).padStart(7, '0')}.bcl`,
  type: 'file',
  size: n,
  md5: null,
  digests: { blake3: n.toString(16).padStart(64, '0') },
});

/** Writes a million rows, reads them back page by page in order, and sweeps all but one. */
export async function landMillionFiles(catalog: Catalog, id: number): Promise<MillionReport> {
  const start = performance.now();
  for (let from = 0; from < MILLION; from += 25_000) {
    const rows = Array.from({ length: 25_000 }, (_, n) => numbered(from + n));
    await catalog.putFiles(id, rows, 'first');
  }
  const rows_per_second = Math.round(MILLION / ((performance.now() - start) / 1000));
  let seen = 0;
  let sum = 0;
  for (let after = ''; ; ) {
    const page = await catalog.files(id, { after, limit: 10_000 });
    for (const { path, size } of page) {
      if (path <= after) throw new Error(`${path} came after ${after}`);
      after = path;
      seen++;
      sum += size;
    }
    if (page.length < 10_000) break;
  }
  await catalog.putFiles(id, [numbered(0)], 'second');
  const swept = await catalog.sweepFiles(id, 'second');
  const peak_rss_mib = Math.round(process.resourceUsage().maxRSS / 1024);
  return { rows_per_second, seen, sum, swept, peak_rss_mib };
}
