import { Worker } from 'node:worker_threads';
import type { Config } from '../../../config/index.ts';

/** Several in each of the shortest limits. */
const BEAT_EVERY_MS = 250;

/** What the thread is given; times in ms. */
export interface HangWatchData {
  /** One counter, which the event loop moves on while it turns. */
  readonly beats: SharedArrayBuffer;
  readonly limit_ms: number;
}

/**
 * A thread that ends this process when its event loop has not turned for config.fleet.hang_seconds: an endless loop, or a
 * call into a file system that does not come back. No timer of the loop itself could tell, nor could a signal be heard;
 * locks are not renewed meanwhile, but the process would hold its place for ever. pm2 starts it again.
 */
export function watchForHangs(config: Config): void {
  const { hang_seconds } = config.fleet;
  if (hang_seconds === null) return;
  const beats = new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT);
  const counter = new Int32Array(beats);
  setInterval(() => Atomics.add(counter, 0, 1), BEAT_EVERY_MS).unref();
  const workerData: HangWatchData = { beats, limit_ms: hang_seconds * 1000 };
  // Never stopped: a shutdown that hangs is one, too. It ends with the process.
  new Worker(new URL('./hang-watch-thread.ts', import.meta.url), { workerData }).unref();
}
