/** Archives that bear only so many transfers at a time: who finds no room comes again, without holding a slot. */
import type { Archive } from '../archive/contract.ts';
import type { Postponement, TaskContext } from './contract.ts';
import { postpone } from './contract.ts';

const AGAIN_MS = 30_000;

/** Null: go on, until the end of this attempt. */
export async function transfersTaken(
  ctx: TaskContext,
  archives: readonly Archive[],
): Promise<Postponement | null> {
  for (const archive of archives) {
    if (await mayTransfer(ctx, archive)) continue;
    const { max_transfers } = archive.capabilities;
    const reason = `waits for one of ${max_transfers} transfers of the archive ${archive.name}`;
    ctx.log.info({ archive: archive.name, max_transfers }, 'all transfers of the archive are taken');
    return postpone(new Date(Date.now() + AGAIN_MS), reason);
  }
  return null;
}

export async function mayTransfer(ctx: TaskContext, archive: Archive): Promise<boolean> {
  const { max_transfers } = archive.capabilities;
  return max_transfers === null || ctx.permit(`archive:${archive.name}`, max_transfers);
}
