/** A bag of a staged dataset: made under a partial name, proven, and renamed. */
import { randomUUID } from 'node:crypto';
import { existsSync, lstatSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import type { Config } from '../../config/index.ts';
import { type Bag, type BagDigest, type BagPayload, makeBag } from '../../workers/content/bag/bag.ts';
import type { BagLinks } from '../../workers/content/bag/contents.ts';
import { compareTree } from '../../workers/content/compare/compare.ts';
import type { ManifestTrailer } from '../../workers/content/manifest.ts';
import { partialPath, publishTree, removeStale, removeTree } from '../../workers/content/publish.ts';
import type { Dataset } from '../../workers/dataset/types.ts';
import { LongshoreError } from '../../workers/errors.ts';
import { makeFolders } from '../../workers/folders.ts';
import { refuseExisting } from './output.ts';
import { counted } from '../cli/format.ts';

export interface BagRequest {
  readonly to: string;
  readonly force: boolean;
  readonly digests: readonly BagDigest[];
  readonly payload: BagPayload;
  readonly links: BagLinks;
}

export interface BagParts {
  readonly config: Config;
  readonly dataset: Dataset;
  readonly staged: string;
  readonly manifest: { readonly path: string; readonly trailer: ManifestTrailer };
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?:
    | ((what: 'compare' | 'copy' | 'digest', bytes: number, total: number) => void)
    | undefined;
}

export async function bagDataset(parts: BagParts, request: BagRequest): Promise<Bag & { path: string }> {
  const { config, dataset, staged, manifest, signal, onProgress } = parts;
  const final = resolve(request.to);
  // What is replaced is removed, so it must be a bag, and not the folder that somebody meant it to go into.
  const isBag = existsSync(join(final, 'bagit.txt')) && lstatSync(final).isDirectory();
  if (!(request.force && isBag)) refuseExisting(final, false);
  await assertStaged(parts);
  makeFolders(dirname(final));
  await removeStale(final);
  const target = partialPath(final, randomUUID());
  try {
    const bag = await makeBag({
      root: staged,
      manifest: manifest.path,
      target,
      digests: request.digests,
      payload: request.payload,
      links: request.links,
      info: bagInfo(config, dataset, manifest.trailer),
      space: {
        keep: config.stage.reserve_bytes,
        state_dir: config.state_dir,
        holder: `bag of ${dataset.name}`,
      },
      signal,
      onProgress,
    });
    signal?.throwIfAborted();
    await publishTree(target, final);
    return { ...bag, path: final };
  } finally {
    await removeTree(target);
  }
}

/** Names, sizes and times as archived; what has another time is read. So the manifest's digests are those of these files. */
async function assertStaged({ staged, manifest, signal, onProgress, dataset }: BagParts): Promise<void> {
  const total = manifest.trailer.counts.bytes;
  const { problems, num_problems } = await compareTree({
    root: staged,
    manifest: manifest.path,
    level: 'stream',
    times: 'prove',
    ...(signal === undefined ? {} : { signal }),
    onProgress: ({ bytes }) => onProgress?.('compare', bytes, total),
  });
  const [first] = problems;
  if (first === undefined) return;
  throw new LongshoreError(
    'E_VALIDATION',
    `the staged copy of ${dataset.name} differs in ${counted(num_problems, 'place')}, first ${first[0]}: ${first[1]}`,
    { fields: { staged_path: staged, total: num_problems, problems } },
  );
}

function bagInfo(config: Config, dataset: Dataset, trailer: ManifestTrailer): [string, string][] {
  const { id, name, type, description } = dataset;
  const { source_organization } = config.bag;
  return [
    ...(source_organization === null
      ? []
      : [['Source-Organization', source_organization] as [string, string]]),
    ['External-Identifier', name],
    ...(description === null ? [] : [['External-Description', description] as [string, string]]),
    ['Bagging-Date', today()],
    ['Bag-Software-Agent', `Longshore ${version()}`],
    ['Longshore-Dataset', `${config.app_id} ${type} ${id}`],
    ...Object.entries(trailer.bundle.digests).map(
      ([digest, value]) => ['Longshore-Bundle-Digest', `${digest} ${value}`] as [string, string],
    ),
  ];
}

/** As the calendar on the wall says. */
function today(): string {
  const now = new Date();
  const pad = (value: number): string => String(value).padStart(2, '0');
  return `${now.getFullYear()}-${pad(now.getMonth() + 1)}-${pad(now.getDate())}`;
}

function version(): string {
  const file = join(import.meta.dirname, '../../package.json');
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
}
