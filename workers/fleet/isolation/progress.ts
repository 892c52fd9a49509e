import type { Progress } from '../../records/contract.ts';
import type { ProgressMeter } from '../../tasks/contract.ts';

/** Weight of the past in the averaged rate. */
const PAST = 0.9;
const INTERVAL_MS = 1_000;

export interface MeterState {
  readonly started: number;
  readonly at: number;
  readonly fraction: number;
  /** Of `fraction`: done without work. */
  readonly skipped: number;
  /** Exponential average of the fraction done per second, not yet corrected for its start at zero. */
  readonly average: number;
  readonly samples: number;
}

/**
 * One sample of a progress display: how fast, how long still. The rate is an exponential average of the fraction
 * per second, corrected for starting at zero (divided by 1 - 0.9^n). Where the reference writes 1e100 for "never"
 * this writes null; a fraction outside 0..1 (a tar is larger than its files) leaves no time remaining. What was
 * skipped is done, and no measure of the rest: a hole of a terabyte would promise the end within seconds.
 */
export function sample(
  state: MeterState,
  now: number,
  done: number,
  { name, total, units }: { name: string; total: number | null; units: string },
  skipped_done = 0,
): { state: MeterState; progress: Progress } {
  if (total === null || total === 0) {
    return { state, progress: { ...NOTHING_KNOWN, name, done, total, units } };
  }
  const fraction = done / total;
  const skipped = skipped_done / total;
  const seconds = (now - state.at) / 1000;
  const measured = seconds > 0;
  const average = measured
    ? PAST * state.average + (1 - PAST) * ((fraction - skipped - state.fraction + state.skipped) / seconds)
    : state.average;
  const samples = state.samples + (measured ? 1 : 0);
  const rate = samples === 0 ? 0 : average / (1 - PAST ** samples);
  const elapsed = (now - state.started) / 1000;
  return {
    state: { started: state.started, at: measured ? now : state.at, fraction, skipped, average, samples },
    progress: {
      name,
      fraction_done: fraction,
      done,
      total,
      units,
      time_remaining_sec: remaining(fraction, rate),
      wt_avg_rate: samples === 0 ? null : rate * total,
      avg_rate: elapsed > 0 ? (done - skipped_done) / elapsed : null,
    },
  };
}

const NOTHING_KNOWN = { fraction_done: null, time_remaining_sec: null, wt_avg_rate: null, avg_rate: null };

function remaining(fraction: number, rate: number): number | null {
  if (fraction < 0 || fraction >= 1) return 0;
  return rate > 0 ? (1 - fraction) / rate : null;
}

/** Takes values as they come; at most one write per interval, and the latest value is never dropped. */
export interface ProgressWriter {
  offer(value: () => Progress | Record<string, unknown>, options?: { at_once?: boolean }): void;
  /** Resolves when everything that was offered is written. */
  flush(): Promise<void>;
}

export function createProgressWriter(
  write: (value: Progress | Record<string, unknown>) => Promise<void>,
  interval_ms = INTERVAL_MS,
): ProgressWriter {
  let waiting: (() => Progress | Record<string, unknown>) | null = null;
  let timer: NodeJS.Timeout | null = null;
  let last = -Infinity;
  let writing: Promise<void> = Promise.resolve();

  const send = (): void => {
    if (timer !== null) clearTimeout(timer);
    timer = null;
    if (waiting === null) return;
    const value = waiting();
    waiting = null;
    last = performance.now();
    writing = writing.then(() => write(value));
  };
  return {
    offer: (value, options = {}) => {
      waiting = value;
      const wait = last + interval_ms - performance.now();
      if (options.at_once === true || wait <= 0) send();
      else timer ??= setTimeout(send, wait);
    },
    flush: async () => {
      send();
      await writing;
    },
  };
}

export function createMeter(
  name: string,
  options: { total: number | null; units: string },
  writer: ProgressWriter,
): ProgressMeter {
  const begun = performance.now();
  let state: MeterState = { started: begun, at: begun, fraction: 0, skipped: 0, average: 0, samples: 0 };
  let done = 0;
  let skipped = 0;
  let ended = false;
  const value = (now: number): Progress => {
    const sampled = sample(state, now, done, { name, ...options }, skipped);
    state = sampled.state;
    return sampled.progress;
  };
  // At the very start there is nothing to measure yet: a rate of zero would weigh on the average for long.
  writer.offer(() => value(begun), { at_once: true });
  const set = (count: number, without_work = 0): void => {
    done = count;
    skipped = without_work;
    if (!ended) writer.offer(() => value(performance.now()));
  };
  return {
    set,
    add: (count) => set(done + count, skipped),
    end: () => {
      ended = true;
      writer.offer(() => value(performance.now()), { at_once: true });
    },
  };
}
