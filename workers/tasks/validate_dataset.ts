/** Compares the staged copy with its manifest, or where there is none with the rows of the catalog, and declares it staged. */
import type { OpenManifest } from '../archive/bundles.ts';
import { copiesOf, openAnyManifest } from '../archive/copies.ts';
import { compareTree } from '../content/compare/compare.ts';
import { compareRows } from '../content/compare/rows.ts';
import { roughSize } from '../dataset/byte-size.ts';
import { liveDataset, reachState } from '../dataset/lifecycle.ts';
import type { Dataset } from '../dataset/types.ts';
import { LongshoreError } from '../errors.ts';
import { defineTask, type TaskContext } from './contract.ts';

type OnProgress = (progress: { files: number; bytes: number }) => void;
type Problem = readonly [path: string, reason: string];

/** File rows read from the catalog at once. */
const PAGE = 10_000;

export const task = defineTask({
  description: 'Compares the staged copy with the manifest; any difference fails with path and reason.',
  run: async (ctx) => {
    const dataset = await liveDataset(ctx.catalog, ctx.dataset_id);
    const staged_path = stagedPath(dataset);
    const manifest = await manifestOf(ctx, dataset);
    const reads = manifest === null || ctx.config.validate.level === 'readback';
    const meter = reads
      ? ctx.progress('validate', { total: roughSize(dataset.size), units: 'bytes' })
      : ctx.progress('validate', { total: dataset.num_files, units: 'files' });
    const onProgress: OnProgress = ({ files, bytes }) => meter.set(reads ? bytes : files);
    const found = await compareWith(ctx, dataset, { staged_path, manifest, onProgress });
    const problems = await countProblems(ctx, dataset, found.listed?.num_files ?? null);
    meter.end();
    refuse(dataset, [...problems, ...found.problems], problems.length + found.num_problems);
    await ctx.catalog.patch(dataset.id, { is_staged: true });
    await reachState(ctx.catalog, dataset.id, 'STAGED', ctx.run.workflow_id);
    return [dataset.id, []];
  },
});

function stagedPath(dataset: Dataset): string {
  if (dataset.staged_path !== null) return dataset.staged_path;
  throw new LongshoreError('E_VALIDATION', `dataset ${dataset.id} (${dataset.name}) has no staged copy`, {
    fields: { dataset_id: dataset.id, problems: [[dataset.name, 'file does not exist']] },
    hint: `Stage it first: longshore stage ${dataset.id}.`,
  });
}

/** null: an older bundle, made without a manifest; the catalog's file rows stand in for it. */
async function manifestOf(ctx: TaskContext, dataset: Dataset): Promise<OpenManifest | null> {
  if (dataset.archive_path === null) return null;
  const copies = copiesOf(ctx.config, dataset, await ctx.catalog.copies(dataset.id));
  return openAnyManifest(copies, {
    scratch: ctx.config.paths.scratch,
    signal: ctx.signal,
    onFailure: ({ archive }, error) =>
      ctx.log.warn(
        { archive: archive.name, code: error.code, reason: error.message },
        'no manifest from here',
      ),
  });
}

async function compareWith(
  ctx: TaskContext,
  dataset: Dataset,
  given: { staged_path: string; manifest: OpenManifest | null; onProgress: OnProgress },
) {
  const { staged_path, manifest, onProgress } = given;
  if (manifest === null) return compareWithRows(ctx, dataset, { staged_path, onProgress });
  try {
    return await compareTree({
      root: staged_path,
      manifest: manifest.path,
      level: ctx.config.validate.level,
      times: 'prove',
      signal: ctx.signal,
      onProgress,
    });
  } finally {
    manifest.close();
  }
}

async function compareWithRows(
  ctx: TaskContext,
  dataset: Dataset,
  { staged_path, onProgress }: { staged_path: string; onProgress: OnProgress },
) {
  const found = await compareRows({
    root: staged_path,
    page: (after) => ctx.catalog.files(dataset.id, { limit: PAGE, ...(after === null ? {} : { after }) }),
    signal: ctx.signal,
    onProgress,
  });
  return { ...found, listed: null };
}

/**
 * The manifest was held against the inspection when it was archived. An inspection that came later counted, and may have
 * listed, what the origin holds now, which is no matter of the copy. Without a manifest rows and inspection are all there is.
 * @param in_manifest null: there is none
 */
async function countProblems(
  ctx: TaskContext,
  dataset: Dataset,
  in_manifest: number | null,
): Promise<Problem[]> {
  const inspected = dataset.num_files;
  const rows = await ctx.catalog.countFiles(dataset.id);
  const listed = in_manifest ?? rows;
  const problems: Problem[] = [];
  if (listed === 0 && inspected !== 0)
    problems.push(['.', `the list of files is empty, the inspection counted ${inspected ?? 'nothing yet'}`]);
  else if (in_manifest === null && inspected !== null && listed !== inspected)
    problems.push(['.', `the catalog lists ${listed} files, the inspection counted ${inspected}`]);
  if (rows !== listed && rows !== inspected)
    problems.push(['.', `the catalog lists ${rows} files, the manifest ${listed}`]);
  return problems;
}

function refuse(dataset: Dataset, problems: readonly Problem[], total: number): void {
  const [first] = problems;
  if (first === undefined) return;
  throw new LongshoreError(
    'E_VALIDATION',
    `the staged copy of ${dataset.name} differs in ${total === 1 ? '1 place' : `${total} places`}, first ${first[0]}: ${first[1]}`,
    {
      fields: {
        staged_path: dataset.staged_path,
        total,
        problems,
      },
    },
  );
}
