import { readdirSync, readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Attempt } from '../../records/contract.ts';

/** Set in the environment of a task's process, so inherited by everything it starts. */
export const TASK_ID_VARIABLE = 'LONGSHORE_TASK_ID';

/** The worker that started it: a process that takes several attempts carries the id of the first only. */
export const TASK_WORKER_VARIABLE = 'LONGSHORE_TASK_WORKER';

/** False when the group is gone. */
export function signalGroup(pgid: number, signal: NodeJS.Signals): boolean {
  try {
    return process.kill(-pgid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false;
    throw error;
  }
}

/**
 * Living members of a process group. Read from /proc, because `kill(-pgid, 0)` also succeeds for zombies, and in a
 * container without an init process those stay for ever.
 */
export function membersOf(pgid: number): number[] {
  return membersOfAll(new Set([pgid])).get(pgid) ?? [];
}

/** The same of several groups, in one walk. */
export function membersOfAll(pgids: ReadonlySet<number>): Map<number, number[]> {
  const members = new Map<number, number[]>();
  for (const pid of readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)) {
    const [state, , group] = statusOf(pid);
    if (state === undefined || state === 'Z' || state === 'X' || !pgids.has(Number(group))) continue;
    members.set(Number(group), [...(members.get(Number(group)) ?? []), pid]);
  }
  return members;
}

/** State, parent, process group. The name before them may hold spaces and brackets. */
function statusOf(pid: number): string[] {
  const text = readOrEmpty(`/proc/${pid}/stat`);
  return text.slice(text.lastIndexOf(')') + 2).split(' ');
}

function readOrEmpty(file: string): string {
  try {
    return readFileSync(file, 'latin1');
  } catch {
    return ''; // The process ended between listing and reading.
  }
}

/** Kills what is left of a group, and waits until it is gone; answers what stayed (uninterruptible I/O). */
export async function reapGroup(pgid: number, wait_ms = 5_000): Promise<number[]> {
  const deadline = Date.now() + wait_ms;
  for (;;) {
    if (!signalGroup(pgid, 'SIGKILL')) return [];
    const left = membersOf(pgid);
    if (left.length === 0 || Date.now() > deadline) return left;
    await sleep(10);
  }
}

/**
 * Ends what a lost worker left running here. The number of a process group may have been given to somebody else
 * since, so only processes that carry the task's id or that worker's name in their environment are touched.
 */
export async function endOrphan(attempt: Attempt, wait_ms = 5_000): Promise<number[]> {
  if (attempt.host !== hostname() || attempt.pgid === null) return [];
  const { pgid } = attempt;
  const ours = (): number[] => membersOf(pgid).filter((pid) => carries(pid, attempt));
  const ended = ours();
  const deadline = Date.now() + wait_ms;
  for (let left = ended; left.length > 0 && Date.now() < deadline; left = ours()) {
    for (const pid of left) killOne(pid);
    await sleep(10);
  }
  return ended;
}

function carries(pid: number, { task_id, worker }: Attempt): boolean {
  const environment = readOrEmpty(`/proc/${pid}/environ`).split('\0');
  return (
    environment.includes(`${TASK_ID_VARIABLE}=${task_id}`) ||
    environment.includes(`${TASK_WORKER_VARIABLE}=${worker}`)
  );
}

function killOne(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
