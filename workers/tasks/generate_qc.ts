/** FastQC over every FASTQ file of the staged copy, MultiQC over its results; the report is kept and linked. */
import { randomUUID } from 'node:crypto';
import { existsSync, mkdirSync, realpathSync, statSync, symlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { openParents, shareTree } from '../content/permissions.ts';
import { adoptPartial, partialPath, publishLink, publishTree, removeTree } from '../content/publish.ts';
import { liveDataset, reachState } from '../dataset/lifecycle.ts';
import { aliasOf, downloadLinksOf, qcFolderOf } from '../dataset/paths.ts';
import { type Reads, findReads } from '../content/reads.ts';
import type { Dataset } from '../dataset/types.ts';
import { LongshoreError } from '../errors.ts';
import { makeFolders } from '../folders.ts';
import { hintOf, noSpaceIn } from '../no-space.ts';
import { defineTask, type TaskContext } from './contract.ts';
import { type QcResults, takeOverResults } from './qc-results.ts';

const REPORT = 'multiqc_report.html';

/**
 * Without the first it calls home for a newer version, and hangs for long on nodes without a way out. The others keep
 * sample names as they are: its own clean-up cuts `S1.sorted.fastq.gz` to `S1` and then shows one of the two only.
 */
const MULTIQC_SETTINGS = JSON.stringify({
  no_version_check: true,
  fn_clean_trim: [],
  fn_clean_exts: [{ type: 'regex', pattern: '\\.(fastq|fq)(\\.gz|\\.bz2)?$' }],
});

export const task = defineTask({
  description:
    'Runs FastQC and MultiQC over the staged FASTQ files, keeps the report and links it for download.',
  run: async (ctx) => {
    const dataset = await liveDataset(ctx.catalog, ctx.dataset_id);
    const reads = findReads({
      root: stagedPath(dataset),
      globs: ctx.config.qc.file_globs,
      signal: ctx.signal,
      onSkip: (path, why) => ctx.log.warn({ path }, `no QC of this file: ${why}`),
    });
    if (reads.length === 0) {
      ctx.log.info(
        { globs: ctx.config.qc.file_globs },
        'the dataset has no FASTQ files; there is nothing to check',
      );
      return [dataset.id];
    }
    const folder = qcFolderOf(ctx.config, dataset);
    makeFolders(dirname(folder));
    await adoptPartial(folder, ctx.run.task_id);
    const partial = partialPath(folder, ctx.run.task_id);
    makeFolders(partial);
    try {
      const root = realpathSync(stagedPath(dataset));
      const results = await takeOverResults(ctx, reads, { root, folder: partial, published: folder });
      const kept = reads.length - results.missing.length;
      if (kept > 0)
        ctx.log.info({ kept, of: reads.length }, 'reads that have not changed keep their results');
      await runFastqc(ctx, results, partial);
      await runMultiqc(ctx, partial);
      await publish(ctx, dataset, partial, folder);
    } finally {
      await removeTree(partial);
    }
    await reachState(ctx.catalog, dataset.id, 'QC', ctx.run.workflow_id);
    return [dataset.id];
  },
});

function stagedPath(dataset: Dataset): string {
  const { staged_path } = dataset;
  if (staged_path !== null && statSync(staged_path, { throwIfNoEntry: false }) !== undefined)
    return staged_path;
  throw new LongshoreError(
    'E_VALIDATION',
    `dataset ${dataset.id} (${dataset.name}) has no staged copy to check`,
    {
      fields: { dataset_id: dataset.id, staged_path },
      hint: `Stage it first: longshore stage ${dataset.id}.`,
    },
  );
}

/**
 * One JVM for each batch with a thread for each of its files: 8 files of 100k reads take 10 s with `-t 2` on two
 * cores and 17 s with one process each.
 */
async function runFastqc(ctx: TaskContext, results: QcResults, folder: string): Promise<void> {
  const reads = results.missing;
  const { batch_size, threads } = ctx.config.qc;
  const scratch = join(folder, 'tmp');
  await removeTree(scratch);
  mkdirSync(scratch);
  const meter = ctx.progress('fastqc', { total: reads.length, units: 'items' });
  for (let at = 0; at < reads.length; at += batch_size) {
    const batch = reads.slice(at, at + batch_size);
    const files = batch.map((file) => pathUnderItsSample(file, scratch));
    const args = ['-t', String(Math.min(threads, files.length)), ...files, '-o', folder];
    const { seen } = await ctx.tool(ctx.config.tools.fastqc, args, {
      env: { TMPDIR: scratch },
      watch_for: HIDDEN_FAILURE,
    });
    assertResults(ctx, batch, folder, seen);
    results.done(batch);
    meter.add(batch.length);
  }
  meter.end();
  await removeTree(scratch);
}

/**
 * FastQC 0.11 ends with exit code 0 over a file that is cut short: it leaves the result out, or makes one of the part
 * that it could read. Only what it prints tells.
 */
const HIDDEN_FAILURE = /^Failed to process|^[\w.]+Exception\b/;

function assertResults(
  ctx: TaskContext,
  batch: readonly Reads[],
  folder: string,
  seen: readonly string[],
): void {
  if (seen.length === 0) return;
  const full = noSpaceIn(seen);
  if (full !== undefined)
    throw new LongshoreError('E_NO_SPACE', `${ctx.config.tools.fastqc} has no room in ${folder}: ${full}`, {
      fields: { path: folder, reported: seen.slice(0, 20) },
      ...hintOf(full),
    });
  const paths = batch.map(({ path }) => path);
  const named = batch
    .filter(({ sample }) => !existsSync(join(folder, `${sample}_fastqc.zip`)))
    .map(({ path }) => path);
  const files = named.length > 0 ? named : paths;
  throw new LongshoreError(
    'E_SUBPROCESS',
    `${ctx.config.tools.fastqc} could not read all of ${files.length === 1 ? files[0] : `one of ${files.length} files`}: ${seen[0]}`,
    {
      class: 'operator',
      fields: { files, reported: seen.slice(0, 20) },
      hint: 'One of the named files is damaged or no FASTQ. Correct it at the origin and land it again, or narrow qc.file_globs.',
    },
  );
}

/** FastQC names its results after the file, so two files of one name in different folders go in under links. */
function pathUnderItsSample(file: Reads, scratch: string): string {
  if (file.link_name === null) return file.path;
  const link = join(scratch, file.link_name);
  symlinkSync(file.path, link);
  return link;
}

async function runMultiqc(ctx: TaskContext, folder: string): Promise<void> {
  const offline = ['--cl-config', MULTIQC_SETTINGS, '--no-megaqc-upload', '--no-ansi'];
  // What it leaves when it is killed goes with the partial report; in the host's /tmp it would stay for ever.
  const own = join(folder, '.multiqc');
  makeFolders(own);
  await ctx.tool(ctx.config.tools.multiqc, [folder, '-o', folder, '--ignore', '.multiqc', ...offline], {
    env: { TMPDIR: own, MPLCONFIGDIR: own, MPLBACKEND: 'Agg' },
  });
  await removeTree(own);
  const report = join(folder, REPORT);
  if ((statSync(report, { throwIfNoEntry: false })?.size ?? 0) > 0) return;
  throw new LongshoreError(
    'E_QC_REPORT_MISSING',
    `${ctx.config.tools.multiqc} ended well, but made no ${REPORT}`,
    {
      fields: { path: report },
    },
  );
}

async function publish(ctx: TaskContext, dataset: Dataset, partial: string, folder: string): Promise<void> {
  const kept = dataset.metadata.report_id;
  const report_id = typeof kept === 'string' && kept !== '' ? kept : randomUUID();
  await shareTree(partial, { signal: ctx.signal });
  await ctx.lease.assert();
  await publishTree(partial, folder);
  if (!openParents(folder, ctx.config.paths.root))
    ctx.log.info({ folder }, 'the report lies outside paths.root; the folders above it are left as they are');
  const report = join(folder, REPORT);
  await ctx.catalog.patch(dataset.id, { metadata: { report_id, stage_alias: aliasOf(ctx.config, dataset) } });
  await ctx.catalog.putReport(dataset.id, { report_id, path: report });
  makeFolders(ctx.config.paths.download_dir, 0o751);
  await ctx.lease.assert();
  await publishLink(report, downloadLinksOf(ctx.config, dataset).report, ctx.run.task_id);
}
