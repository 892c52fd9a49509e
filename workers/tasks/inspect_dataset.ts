/** Counts and sizes of a dataset, and whether all of it can be read; with digests when asked for. */
import { inspectTree } from '../content/inspect.ts';
import { roughSize } from '../dataset/byte-size.ts';
import { liveDataset } from '../dataset/lifecycle.ts';
import { memberDigestsOf } from '../dataset/digests.ts';
import { LongshoreError } from '../errors.ts';
import { defineTask } from './contract.ts';

export const task = defineTask({
  description: 'Counts files, folders and bytes; fails with the list of what cannot be read.',
  run: async (ctx) => {
    const dataset = await liveDataset(ctx.catalog, ctx.dataset_id);
    const generation = `inspect ${ctx.run.task_id}.${ctx.run.attempt}`;
    const digests = wantsDigests(ctx.kwargs, ctx.config.inspect.digests)
      ? memberDigestsOf(ctx.config, ctx.catalog)
      : undefined;
    const meter =
      digests === undefined
        ? ctx.progress('inspect', { total: dataset.num_files, units: 'items' })
        : ctx.progress('inspect', { total: roughSize(dataset.size), units: 'bytes' });
    const found = await inspectTree({
      root: dataset.origin_path,
      genome_file_types: ctx.config.genome_file_types,
      batch_size: ctx.config.inspect.file_metadata_batch_size,
      signal: ctx.signal,
      onProgress: ({ items, bytes }) => meter.set(digests === undefined ? items : bytes),
      ...(digests === undefined
        ? {}
        : {
            digests,
            onFiles: (rows) => ctx.catalog.putFiles(dataset.id, rows, generation),
            ...(ctx.kwargs.reread === true
              ? {}
              : { known: (paths: string[]) => ctx.catalog.filesAt(dataset.id, paths) }),
          }),
    });
    meter.end();
    if (found.num_kept > 0) ctx.log.info({ files: found.num_kept }, 'unchanged files were not read again');
    if (found.problems.length > 0) throw unreadable(dataset.origin_path, found);
    if (digests !== undefined)
      await ctx.catalog.sweepFiles(dataset.id, generation, (wait) => ctx.report({ ...wait }));
    await ctx.catalog.patch(dataset.id, {
      du_size: found.du_size,
      size: found.size,
      num_files: found.num_files,
      num_directories: found.num_directories,
      metadata: { num_genome_files: found.num_genome_files, hole_bytes: found.hole_bytes },
    });
    return [dataset.id];
  },
});

/** A workflow that archives next says false: the archive's single pass digests the same bytes anyway. */
function wantsDigests(kwargs: Readonly<Record<string, unknown>>, configured: boolean): boolean {
  const given = kwargs.digests ?? configured;
  if (typeof given === 'boolean') return given;
  throw new LongshoreError('E_USAGE', `digests is ${JSON.stringify(given)}; expected true or false`, {
    hint: "Correct it in the step's kwargs or in the start of the workflow.",
  });
}

function unreadable(
  origin: string,
  found: { problems: readonly (readonly [string, string])[]; num_problems: number },
): LongshoreError {
  const [path, reason] = found.problems[0] ?? ['.', 'unknown'];
  const which = found.num_problems === 1 ? '1 entry' : `${found.num_problems} entries`;
  const named = `${found.num_problems === 1 ? '' : 'first '}"${path}": ${reason}`;
  return new LongshoreError('E_INSPECTION', `${which} of ${origin} cannot be archived, ${named}`, {
    fields: { origin_path: origin, total: found.num_problems, problems: found.problems },
  });
}
