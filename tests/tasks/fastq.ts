import { gzipSync } from 'node:zlib';

/** A small, valid FASTQ file, compressed; the same for the same seed. */
export function fastq(reads: number, seed = 1): Buffer {
  let state = seed;
  const next = (below: number): number => {
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
    return Math.floor((state / 2_147_483_648) * below);
  };
  const lines: string[] = [];
  for (let read = 0; read < reads; read++) {
    const bases = Array.from({ length: 50 }, () => 'ACGT'[next(4)]).join('');
    const quality = Array.from({ length: 50 }, () => String.fromCharCode(60 + next(12))).join('');
    lines.push(`@SIM:1:FC:1:1:${read}:1 1:N:0:A`, bases, '+', quality);
  }
  return gzipSync(`${lines.join('\n')}\n`);
}
