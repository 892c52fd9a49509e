import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Attempt } from '../../workers/records/contract.ts';
import type { ServedWorkflow } from '../../workers/workflows/status.ts';
import { type Ground, succeeds } from './ground.ts';
import { counted } from '../cli/format.ts';

export interface Struck {
  readonly child: number;
  readonly worker: number;
}

const TRIES = 5;
const LOOK_EVERY_MS = 2;

/**
 * Strikes in the midst of work: the copy is staged anew, and the blow falls when the first of it has been written under its
 * temporary name. What the records say afterwards proves that it hit; a step that was faster is staged once more.
 *
 * @param mark of the attempt that was hit: `lost`, or `outlived` for one that began before the blow and ended after it
 */
export async function atWork(
  ground: Ground,
  mark: 'lost' | 'outlived',
  strike: (at: Struck) => Promise<void> | void,
): Promise<string> {
  for (let tries = 1; tries <= TRIES; tries += 1) {
    const id = await ground.stageAgain();
    const struck = await writing(ground, id);
    const at = new Date().toISOString();
    if (struck !== null) await strike(struck);
    const { steps } = await succeeds({ ...ground, id });
    const run = stageRun(steps);
    if ((run?.retries ?? 0) > 0) throw new Error(`${run?.retries} retries of the step were used up`);
    await ground.assertIdentical();
    const attempts = run === null ? [] : await ground.attempts(run._id);
    if (attempts.some((one) => hit(one, mark, at)))
      return `staging was struck in its midst, ${counted(attempts.length, 'attempt')}, the copy is identical`;
  }
  throw new Error(`staging was over before it could be struck, ${TRIES} times`);
}

function hit({ outcome, date_start, date_end }: Attempt, mark: 'lost' | 'outlived', at: string): boolean {
  if (mark === 'lost') return outcome === 'lost';
  return date_start < at && date_end !== null && date_end > at;
}

const stageRun = (steps: ServedWorkflow['steps']) =>
  steps.find(({ name }) => name === 'stage')?.last_task_run ?? null;

/** Who writes, as soon as there is something of the new copy; null when it was over before that was seen. */
async function writing(ground: Ground, id: string): Promise<Struck | null> {
  for (;;) {
    const { status, steps } = await ground.engine.show(id);
    if (status === 'SUCCESS' || status === 'FAILURE') return null;
    const run = stageRun(steps);
    if (run?.status === 'STARTED') {
      const open = (await ground.attempts(run._id)).find((one) => one.date_end === null);
      if (open !== undefined && open.pgid !== null && begunBelow(ground.stage))
        return { child: open.pgid, worker: parentOf(open.pgid) };
    }
    ground.signal.throwIfAborted();
    await sleep(LOOK_EVERY_MS);
  }
}

/** Temporary names begin with a dot. */
function begunBelow(folder: string): boolean {
  if (!existsSync(folder)) return false;
  return readdirSync(folder, { recursive: true, encoding: 'utf8' }).some((path) =>
    path.includes('.partial-'),
  );
}

const parentOf = (pid: number): number =>
  Number(/^PPid:\s*(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
