import { setTimeout as sleep } from 'node:timers/promises';

/**
 * Waits for a condition, asking every few milliseconds; fails with what was last seen.
 *
 * `every_ms`: where each question is a process of its own (`pm2 jlist`, `longshore fleet`), which else would take a whole
 * processor from what is waited for.
 */
export async function until<T>(
  ask: () => Promise<T> | T,
  options: { ms?: number; what?: string; every_ms?: number } = {},
): Promise<NonNullable<T>> {
  const deadline = Date.now() + (options.ms ?? 60_000);
  for (;;) {
    const seen = await ask();
    if (seen) return seen;
    if (Date.now() > deadline)
      throw new Error(
        `waited ${options.ms ?? 60_000} ms for ${options.what ?? 'a condition'}; last seen: ${JSON.stringify(seen)}`,
      );
    await sleep(options.every_ms ?? 15);
  }
}
