/** Whom the kernel kills first when memory is short: a task, which runs again, and not the worker with all of its tasks. */
import { readFileSync, writeFileSync } from 'node:fs';

/** In thousandths of all the memory there may be; a worker holds less than that more than a task does. */
const BEFORE_US = 300;
const MOST = 1000;

const fileOf = (pid: number | 'self'): string => `/proc/${pid}/oom_score_adj`;

/** What the process starts is ranked as it is. More needs no right, and less is not asked for. */
export function killBeforeUs(pid: number): void {
  try {
    const ours = Number(readFileSync(fileOf('self'), 'latin1'));
    if (pid > 0 && ours < MOST) writeFileSync(fileOf(pid), String(Math.min(MOST, ours + BEFORE_US)));
  } catch {
    // It has ended, or this kernel ranks nobody.
  }
}
