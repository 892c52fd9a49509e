/** Plans of the steps that bring a staged copy, prove it and publish it. */
import { dirname } from 'node:path';
import type { Copy } from '../../workers/archive/copies.ts';
import { isThere } from '../../workers/content/staged-copy.ts';
import { roughSize } from '../../workers/dataset/byte-size.ts';
import { treeEstimate } from '../../workers/dataset/estimates.ts';
import {
  downloadLinksOf,
  fetchedBundleOf,
  stagedBundleOf,
  stagedPathOf,
} from '../../workers/dataset/paths.ts';
import { LongshoreError } from '../../workers/errors.ts';
import type { Ground } from './ground.ts';
import type { Need } from './model.ts';
import { item, type Planner } from './step.ts';

export const planStage: Planner = async (ground) => {
  const { config, dataset } = ground;
  const { copy, stops, notes } = await firstToServe(ground);
  const size = copy?.size ?? ground.coming.bundle;
  const tree = stagedPathOf(config, dataset);
  const bundle = stagedBundleOf(config, dataset);
  const unpacked = roughSize(dataset.size) ?? (await ground.counts())?.size ?? size;
  if (isThere(tree)) notes.push(`the staged copy that is there is replaced when the new one is complete`);
  ground.coming.staged = true;
  return {
    stops,
    notes,
    reads: [
      item(
        copy === null ? 'the bundle' : `the bundle in ${copy.from.archive.name}`,
        copy?.path ?? 'the archive',
        size,
        1,
      ),
    ],
    writes: [
      item('staged copy', tree, unpacked, dataset.num_files),
      ...(config.stage.keep_bundle ? [item('staged bundle', bundle, size, 1)] : []),
    ],
    needs: size === null ? [] : needsOf(ground, { copy: copy?.from ?? null, tree, bundle, size }),
    amount: { unit: 'bytes', amount: unpacked },
  };
};

interface Served {
  readonly from: Copy;
  readonly path: string;
  readonly size: number;
}

/** As the task tries them: in the order of the policy, the next one when one is away, gone or of another size. */
async function firstToServe(
  ground: Ground,
): Promise<{ copy: Served | null; stops: LongshoreError[]; notes: string[] }> {
  const { dataset, copies } = ground;
  if (copies.length === 0)
    return { copy: null, stops: ground.coming.bundle === null ? [notArchived(ground)] : [], notes: [] };
  const failures: LongshoreError[] = [];
  for (const from of copies) {
    const path = from.archive.locate(from.key);
    const expected = from.recorded?.size ?? dataset.bundle?.size;
    const answer = await ground.ask(from.archive, from.key);
    const failure = 'error' in answer ? answer.error : problemOf(path, answer.found?.size, expected);
    if (failure !== null) failures.push(failure);
    else if ('found' in answer && answer.found !== null) {
      const notes = failures.map(({ code, message }) => `${code}: ${message}; the next copy is taken`);
      return { copy: { from, path, size: answer.found.size }, stops: [], notes };
    }
  }
  // It will be written by a step before this one, whatever is there now.
  return { copy: null, stops: ground.coming.bundle === null ? failures.slice(0, 1) : [], notes: [] };
}

function problemOf(
  path: string,
  size: number | undefined,
  expected: number | undefined,
): LongshoreError | null {
  if (size === undefined)
    return new LongshoreError('E_BUNDLE_MISSING', `the archive holds no bundle at ${path}`);
  if (expected === undefined || size === expected) return null;
  return new LongshoreError('E_BUNDLE_CORRUPT', `${path} has ${size} bytes, ${expected} are recorded`);
}

const notArchived = ({ dataset: { id, name } }: Ground): LongshoreError =>
  new LongshoreError('E_NOT_ARCHIVED', `dataset ${id} (${name}) is not in the archive`, {
    hint: `Land it first: longshore start integrated ${id}.`,
  });

/** As the task reserves: the tree, and the bundle where it is kept or must be fetched whole. */
function needsOf(
  { config, dataset }: Ground,
  { copy, tree, bundle, size }: { copy: Copy | null; tree: string; bundle: string; size: number },
): Need[] {
  const unpacked = { folder: dirname(tree), bytes: treeEstimate(dataset, size) };
  if (config.stage.keep_bundle) return [unpacked, { folder: dirname(bundle), bytes: size }];
  const fetches = copy !== null && copy.archive.local === null && !copy.archive.capabilities.range;
  return fetches
    ? [unpacked, { folder: dirname(fetchedBundleOf(config, dataset)), bytes: size }]
    : [unpacked];
}

export const planValidate: Planner = async (ground) => {
  const { config, dataset } = ground;
  const path = dataset.staged_path ?? stagedPathOf(config, dataset);
  const reads = config.validate.level === 'readback';
  const counts = ground.coming.staged ? await ground.counts() : dataset;
  const items = counts === null ? null : (counts.num_files ?? 0) + (counts.num_directories ?? 0);
  const bytes = roughSize(counts?.size ?? null);
  return {
    stops: stagedStops(ground),
    reads: [
      item(
        reads ? 'every staged file' : 'names, sizes and types',
        path,
        reads ? bytes : 0,
        counts?.num_files ?? null,
      ),
    ],
    amount: reads ? { unit: 'bytes', amount: bytes } : { unit: 'files', amount: items },
  };
};

export const planSetupDownload: Planner = async (ground) => {
  const { config, dataset } = ground;
  const links = downloadLinksOf(config, dataset);
  const tree = dataset.staged_path ?? stagedPathOf(config, dataset);
  const counts = ground.coming.staged ? await ground.counts() : dataset;
  return {
    stops: stagedStops(ground),
    links: [
      { path: links.tree, target: tree },
      ...(config.stage.keep_bundle ? [{ path: links.bundle, target: stagedBundleOf(config, dataset) }] : []),
    ],
    notes: ['files and folders of the staged copy become readable for others'],
    amount: {
      unit: 'files',
      amount: counts === null ? null : (counts.num_files ?? 0) + (counts.num_directories ?? 0),
    },
  };
};

export const planQc: Planner = async (ground) => ({
  stops: stagedStops(ground),
  reads: [item('files that match config.qc.file_globs', ground.dataset.staged_path ?? 'the staged copy')],
  amount: { unit: 'bytes', amount: roughSize(ground.dataset.size) },
});

function stagedStops({ dataset: { id, name, staged_path }, coming }: Ground): LongshoreError[] {
  if (coming.staged || (staged_path !== null && isThere(staged_path))) return [];
  return [
    new LongshoreError('E_WORKFLOW_STATE', `dataset ${id} (${name}) has no staged copy to look at`, {
      hint: `Stage it first: longshore stage ${id}.`,
    }),
  ];
}
