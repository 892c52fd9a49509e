/** Numbers that come again with the same seed: what was struck when can be tried once more. */
export interface Random {
  /** 0 ≤ x < 1. */
  next(): number;
  /** A whole number, from 0 to below `limit`. */
  below(limit: number): number;
  between(least: number, most: number): number;
  pick<T>(list: readonly T[]): T | undefined;
}

/** Mulberry32: small, even enough, and the same everywhere. */
export function randomOf(seed: number): Random {
  let state = seed >>> 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  const below = (limit: number): number => Math.floor(next() * limit);
  return {
    next,
    below,
    between: (least, most) => least + next() * (most - least),
    pick: (list) => list[below(list.length)],
  };
}
