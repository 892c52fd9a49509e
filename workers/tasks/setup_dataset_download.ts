/** Makes the staged copy and its bundle readable for others, and links both into the download folder. */
import { statSync } from 'node:fs';
import { publishLink, removeFile } from '../content/publish.ts';
import { liveDataset } from '../dataset/lifecycle.ts';
import { openParents, shareFile, shareTree } from '../content/permissions.ts';
import { downloadLinksOf, stagedBundleOf } from '../dataset/paths.ts';
import type { Dataset } from '../dataset/types.ts';
import { LongshoreError } from '../errors.ts';
import { makeFolders } from '../folders.ts';
import { defineTask } from './contract.ts';

/** The names in the download folder are the only protection of what they lead to: nobody may list them. */
const DOWNLOAD_FOLDER_MODE = 0o751;

export const task = defineTask({
  description:
    'Opens the staged copy and its bundle for reading and links both into config.paths.download_dir.',
  run: async (ctx) => {
    const { config } = ctx;
    const dataset = await liveDataset(ctx.catalog, ctx.dataset_id);
    const staged_path = assertStaged(dataset);
    const bundle = config.stage.keep_bundle ? stagedBundleOf(config, dataset) : null;
    if (bundle !== null && !isThere(bundle)) throw missing(dataset, bundle);

    const total = (dataset.num_files ?? 0) + (dataset.num_directories ?? 0) + 1;
    const meter = ctx.progress('share', { total, units: 'items' });
    // The way in comes first, because it is the only part that a wrong configuration can refuse.
    if (!openParents(staged_path, config.paths.root)) throw notBelowRoot(config.paths.root, staged_path);
    await shareTree(staged_path, { signal: ctx.signal, onProgress: (members) => meter.set(members) });
    if (bundle !== null) {
      shareFile(bundle);
      if (!openParents(bundle, config.paths.root))
        ctx.log.info(
          { bundle },
          'the bundle lies outside paths.root; the folders above it are left as they are',
        );
    }
    meter.end();

    makeFolders(config.paths.download_dir, DOWNLOAD_FOLDER_MODE);
    const links = downloadLinksOf(config, dataset);
    await ctx.lease.assert();
    await publishLink(staged_path, links.tree, ctx.run.task_id);
    if (bundle !== null) await publishLink(bundle, links.bundle, ctx.run.task_id);
    else removeFile(links.bundle);
    return [dataset.id];
  },
});

function assertStaged(dataset: Dataset): string {
  if (dataset.staged_path !== null && isThere(dataset.staged_path)) return dataset.staged_path;
  throw missing(dataset, dataset.staged_path ?? '(no staged path is recorded)');
}

const isThere = (path: string): boolean => statSync(path, { throwIfNoEntry: false }) !== undefined;

function notBelowRoot(root: string, path: string): LongshoreError {
  return new LongshoreError('E_CONFIG', `paths.root is ${root}, which is not above ${path}`, {
    fields: { root, path },
    hint: 'Set paths.root to a folder above the stage folders, then resume.',
  });
}

function missing(dataset: Dataset, path: string): LongshoreError {
  return new LongshoreError('E_VALIDATION', `${path} of dataset ${dataset.name} is not there`, {
    fields: { dataset_id: dataset.id, path, problems: [[path, 'file does not exist']] },
    hint: `Stage the dataset again: longshore stage ${dataset.id}.`,
  });
}
