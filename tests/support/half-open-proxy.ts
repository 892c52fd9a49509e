import { onTestFinished } from 'vitest';
import { type HalfOpenProxy, startHalfOpenProxy as start } from '../../scripts/drill/half-open.ts';

/** Gone when the test ends. */
export async function startHalfOpenProxy(target: string): Promise<HalfOpenProxy> {
  const proxy = await start(target);
  onTestFinished(() => proxy.close());
  return proxy;
}
