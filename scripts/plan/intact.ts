/** Whether the staged copy of a dataset is still whole: by names, sizes and times, without reading its bytes. */
import { existsSync, lstatSync, readlinkSync } from 'node:fs';
import type { Config } from '../../config/index.ts';
import { manifestKey } from '../../workers/archive/contract.ts';
import { copiesOf } from '../../workers/archive/copies.ts';
import { compareTree } from '../../workers/content/compare/compare.ts';
import { inspectTree } from '../../workers/content/inspect.ts';
import { downloadLinksOf, stagedBundleOf } from '../../workers/dataset/paths.ts';
import type { Dataset } from '../../workers/dataset/types.ts';
import { coerceError } from '../../workers/errors.ts';
import type { Store } from '../../workers/store.ts';

/** What is wrong with it, first things first; empty when it is as setup_download left it. */
export async function differencesOf(config: Config, store: Store, dataset: Dataset): Promise<string[]> {
  const { staged_path, bundle } = dataset;
  if (!dataset.is_staged || staged_path === null) return ['it is not staged'];
  const links = downloadLinksOf(config, dataset);
  const stagedBundle = stagedBundleOf(config, dataset);
  const found: string[] = [];
  if (targetOf(links.tree) !== staged_path) found.push(`${links.tree} does not lead to it`);
  if (config.stage.keep_bundle) {
    const size = lstatSync(stagedBundle, { throwIfNoEntry: false })?.size;
    if (size === undefined || size !== bundle?.size) found.push(`${stagedBundle} is not whole`);
    if (targetOf(links.bundle) !== stagedBundle) found.push(`${links.bundle} does not lead to its bundle`);
  }
  // A tree of a million files is walked only when nothing else is amiss.
  return found.length > 0 ? found : treeDifferences(config, store, dataset, staged_path);
}

async function treeDifferences(
  config: Config,
  store: Store,
  dataset: Dataset,
  root: string,
): Promise<string[]> {
  const manifest = await localManifest(config, store, dataset);
  try {
    if (manifest !== null) {
      const { problems } = await compareTree({ root, manifest, level: 'stream', times: 'report' });
      return problems.map(([path, reason]) => `${path} ${reason}`);
    }
    const { size, num_files, num_directories } = await inspectTree({ root, genome_file_types: [] });
    const same =
      size === dataset.size && num_files === dataset.num_files && num_directories === dataset.num_directories;
    return same ? [] : [`${root} holds ${num_files} files of ${size} bytes`];
  } catch (error) {
    const { code, message } = coerceError(error);
    if (code === 'E_ORIGIN_MISSING' || code === 'E_INSPECTION' || code === 'E_BUNDLE_CORRUPT')
      return [message];
    throw error;
  }
}

/** Only one that lies in place: from tape it would take longer than staging a small dataset. */
async function localManifest(config: Config, { catalog }: Store, dataset: Dataset): Promise<string | null> {
  for (const { archive, key } of copiesOf(config, dataset, await catalog.copies(dataset.id))) {
    const path = archive.local?.path(manifestKey(key));
    if (path !== undefined && existsSync(path)) return path;
  }
  return null;
}

function targetOf(path: string): string | null {
  return lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() === true ? readlinkSync(path) : null;
}
