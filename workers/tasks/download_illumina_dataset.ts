/** Downloads the account's recent datasets from BaseSpace into the scratch folder. */
import { liveDataset, reachState } from '../dataset/lifecycle.ts';
import { scratchPathOf } from '../dataset/paths.ts';
import { LongshoreError } from '../errors.ts';
import { makeFolders } from '../folders.ts';
import { defineTask, type TaskContext } from './contract.ts';

/** A listing of the account's datasets; 16 MiB are some ten thousand of them. */
const LISTING_BYTES = 16 * 1024 ** 2;

export const task = defineTask({
  description: 'Downloads the datasets of the last n days from BaseSpace (bs) into config.paths.scratch.',
  run: async (ctx) => {
    const dataset = await liveDataset(ctx.catalog, ctx.dataset_id);
    const days = daysOf(ctx);
    const target = scratchPathOf(ctx.config, dataset);
    const ids = await listIds(ctx, days);
    // `bs` goes on with what is there, so a repeated attempt keeps its bytes; the catalog learns of it when complete.
    makeFolders(target);
    const meter = ctx.progress('datasets', { total: ids.length, units: 'items' });
    for (const id of ids) {
      await ctx.tool(ctx.config.tools.bs, ['download', 'dataset', '--id', id, '-o', target]);
      meter.add(1);
    }
    meter.end();
    await ctx.lease.assert();
    await ctx.catalog.patch(dataset.id, { origin_path: target });
    await reachState(ctx.catalog, dataset.id, 'DOWNLOADED', ctx.run.workflow_id);
    return [dataset.id];
  },
});

function daysOf(ctx: TaskContext): number {
  const days = ctx.kwargs.n_days ?? ctx.config.illumina.download.datasets.n_days;
  if (typeof days === 'number' && Number.isInteger(days) && days >= 1) return days;
  throw new LongshoreError('E_USAGE', `n_days is ${JSON.stringify(days)}; expected a whole number of days`, {
    hint: 'Set illumina.download.datasets.n_days in the configuration, or n_days at the start.',
  });
}

async function listIds(ctx: TaskContext, days: number): Promise<string[]> {
  const { bs } = ctx.config.tools;
  const args = ['list', 'datasets', '-f', 'json', `--newer-than=${days}d`];
  const { stdout } = await ctx.tool(bs, args, { capture_bytes: LISTING_BYTES });
  let listing: unknown;
  try {
    listing = JSON.parse(stdout);
  } catch (cause) {
    throw unreadable(bs, stdout, cause);
  }
  if (!Array.isArray(listing)) throw unreadable(bs, stdout);
  return listing.map((entry: unknown) => {
    const id = typeof entry === 'object' && entry !== null ? (entry as { Id?: unknown }).Id : undefined;
    // An id that begins with a dash would be read as an option.
    if ((typeof id === 'string' || typeof id === 'number') && /^[A-Za-z0-9]/.test(String(id)))
      return String(id);
    throw unreadable(bs, JSON.stringify(entry));
  });
}

const unreadable = (bs: string, text: string, cause?: unknown): LongshoreError =>
  new LongshoreError('E_SUBPROCESS', `"${bs} list datasets" gave no list of datasets with an Id`, {
    fields: { output: text.slice(0, 500) },
    cause,
  });
