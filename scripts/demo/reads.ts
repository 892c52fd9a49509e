import { createHash } from 'node:crypto';
import { gzipSync } from 'node:zlib';

/**
 * Reads as a sequencer writes them, the same ones for the same seed: GC content and quality that drift along the read,
 * a few reads with an adapter or an unknown base. Real enough that FastQC has something to say.
 */
export interface ReadOptions {
  readonly seed: string;
  readonly reads: number;
  readonly length: number;
  /** 1 or 2 of a pair. */
  readonly mate: 1 | 2;
}

const ADAPTER = 'AGATCGGAAGAGCACACGTCTGAACTCCAGTCA';

export function fastqGz(options: ReadOptions): Buffer {
  const random = generator(`${options.seed}/${options.mate}`);
  const lines: string[] = [];
  for (let index = 0; index < options.reads; index += 1) {
    const tile = 1101 + (index % 16);
    const at = `${1000 + Math.floor(random() * 30000)}:${1000 + Math.floor(random() * 30000)}`;
    lines.push(
      `@A01234:17:HXXXXDSX2:1:${tile}:${at} ${options.mate}:N:0:ACGTACGT`,
      bases(random, options.length),
      '+',
      qualities(random, options.length, options.mate),
    );
  }
  return gzipSync(`${lines.join('\n')}\n`, { level: 4 });
}

function bases(random: () => number, length: number): string {
  const gc = 0.38 + random() * 0.14;
  let text = '';
  while (text.length < length) {
    const pick = random();
    text += pick < gc ? (pick < gc / 2 ? 'G' : 'C') : pick < gc + (1 - gc) / 2 ? 'A' : 'T';
  }
  const fate = random();
  // A short insert is read through into the adapter.
  if (fate < 0.03)
    return `${text.slice(0, Math.floor(length * (0.5 + random() * 0.4)))}${ADAPTER}${text}`.slice(0, length);
  return fate < 0.035 ? `N${text.slice(1)}` : text;
}

function qualities(random: () => number, length: number, mate: 1 | 2): string {
  const steepness = mate === 1 ? 6 : 10;
  let text = '';
  for (let at = 0; at < length; at += 1) {
    const expected = 37 - steepness * (at / length) ** 2 - random() * random() * 12;
    // Four bins, as newer instruments write them.
    text += expected > 33 ? 'F' : expected > 24 ? ':' : expected > 12 ? ',' : '#';
  }
  return text;
}

/** A small seeded generator (mulberry32): Math.random cannot be repeated. */
export function generator(seed: string): () => number {
  let state = createHash('sha256').update(seed).digest().readUInt32LE(0);
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
