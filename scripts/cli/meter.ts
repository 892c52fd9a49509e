import { figuresText } from './progress.ts';
import { columnsOf, cutMiddle, type Out } from './table.ts';

/** Shows how far a command's own work is: one line redrawn on a terminal, else a line now and then. */
export interface Meter {
  set(done: number): void;
  end(): void;
}

const REDRAW_MS = 150;
/** What is done within it needs no line. */
const FIRST_LINE_MS = 1000;
const LINE_MS = 5000;
/** The rate is that of the last seconds, as a transfer that has become slow must not look fast. */
const WINDOW_MS = 10_000;

/** @param out stderr in a command, since stdout is its result */
export function createMeter(
  out: Out,
  { label, total, units = 'bytes' }: { label: string; total: number | null; units?: 'bytes' | 'files' },
): Meter {
  const started = Date.now();
  const onTerminal = out.isTTY === true;
  const looks: { at: number; done: number }[] = [{ at: started, done: 0 }];
  let shown = onTerminal ? started : started + FIRST_LINE_MS - LINE_MS;
  let drawn = false;
  const text = (done: number, now: number): string => {
    while ((looks[1]?.at ?? now) < now - WINDOW_MS) looks.shift();
    const first = looks[0] ?? { at: started, done: 0 };
    const avg_rate = ((done - first.done) / Math.max(1, now - first.at)) * 1000;
    const fraction = total === null || total === 0 ? {} : { fraction_done: done / total };
    const left =
      total === null || avg_rate <= 0 ? {} : { time_remaining_sec: Math.max(0, total - done) / avg_rate };
    return `${label}: ${figuresText({ done, units, avg_rate, ...(total === null ? {} : { total }), ...fraction, ...left })}`;
  };
  return {
    set: (done) => {
      const now = Date.now();
      if (now - shown < (onTerminal ? REDRAW_MS : LINE_MS)) return;
      shown = now;
      looks.push({ at: now, done });
      const line = text(done, now);
      out.write(onTerminal ? `\r\u001b[K${cutMiddle(line, (columnsOf(out) ?? 80) - 1)}` : `${line}\n`);
      drawn = true;
    },
    end: () => {
      if (drawn && onTerminal) out.write('\r\u001b[K');
      drawn = false;
    },
  };
}
