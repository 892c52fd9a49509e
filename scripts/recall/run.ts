/** Brings members of a dataset back: from the first copy that can be read, and what it holds no more from the next ones. */
import { statfsSync, statSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { fetchPlace } from '../../workers/archive/index.ts';
import { openReadable, type ReadableBundle } from '../../workers/archive/recall.ts';
import { humanBytes } from '../../workers/content/human-bytes.ts';
import { recallMembers, type Recalled } from '../../workers/content/recall/recall.ts';
import { createAsked } from '../../workers/content/recall/paths.ts';
import { type RecallSurvey, refuseConflicts, surveyRecall } from '../../workers/content/recall/survey.ts';
import { openRecallTarget } from '../../workers/content/recall/target.ts';
import { reserveSpace } from '../../workers/content/space.ts';
import type { Dataset } from '../../workers/dataset/types.ts';
import { coerceError, LongshoreError } from '../../workers/errors.ts';
import {
  agree,
  type CopyParts,
  type DatasetManifest,
  type OpenCopy,
  openCopies,
  openDatasetManifest,
} from './copies.ts';
import { createFindings, type Findings, type RecallParts } from './findings.ts';

export interface RecallRequest {
  readonly paths: readonly string[];
  readonly to: string;
  readonly force: boolean;
  /** Only from this archive. */
  readonly archive?: string | undefined;
  readonly actor: string;
}

export interface RecallPlan extends RecallSurvey {
  readonly to: string;
  readonly free: number;
  /** In the order in which they are read. */
  readonly copies: readonly OpenCopy[];
  readonly manifest: DatasetManifest;
  readonly request: RecallRequest;
  readonly dataset: Dataset;
}

export interface RecallOutcome {
  /** By archive, those that were read. */
  readonly from: readonly ({ archive: string; path: string } & Omit<Recalled, 'failure'>)[];
  /** Members that a copy did not hold as they were archived, as [archive, path]. */
  readonly damaged: readonly (readonly [string, string])[];
}

/** Looks at everything and changes nothing. Close the plan's manifest. */
export async function planRecall(
  parts: RecallParts,
  dataset: Dataset,
  request: RecallRequest,
): Promise<RecallPlan> {
  const { listener, signal } = parts;
  const asked = createAsked(request.paths);
  const findings = createFindings(parts, dataset, request.actor);
  const all: CopyParts = { ...parts, onProblem: findings.problem };
  const opened = await openCopies(all, dataset, request.archive);
  const manifest = await openDatasetManifest(all, dataset, opened);
  try {
    const copies = await usableCopies(opened, manifest, findings);
    const to = resolve(request.to);
    const survey = await surveyRecall({
      manifest: manifest.path,
      asked,
      to,
      signal,
      onProgress: (bytes) => listener.onProgress?.('look', bytes, 0),
    });
    return { ...survey, to, free: freeAt(to), copies, manifest, request, dataset };
  } catch (error) {
    manifest.close();
    throw error;
  }
}

/** One whose size is wrong still may hold what is asked for, and each member is proven; it is read last. */
async function usableCopies(
  opened: readonly OpenCopy[],
  { trailer, archive: known }: DatasetManifest,
  findings: Findings,
): Promise<OpenCopy[]> {
  const sound: OpenCopy[] = [];
  const wrong: OpenCopy[] = [];
  for (const copy of opened) {
    const { archive, key } = copy;
    if (!agree(copy.digests, trailer.bundle.digests)) {
      const message = `the copy in ${archive} is of another bundle than the manifest in ${known}`;
      await findings.problem({ archive, key, error: new LongshoreError('E_RECALL', message) });
    } else if (copy.size === trailer.bundle.size) sound.push(copy);
    else {
      await findings.size(copy, trailer.bundle.size);
      wrong.push(copy);
    }
  }
  const copies = [...sound, ...wrong];
  if (copies.length > 0) return copies;
  throw new LongshoreError('E_RECALL', 'no copy of the bundle belongs to its manifest', {
    fields: { archives: opened.map(({ archive }) => archive), manifest: known },
    hint: 'See the copies with `longshore show <dataset>`, then archive the dataset again or restore a copy.',
  });
}

/** @throws E_BUNDLE_CORRUPT when no copy holds a member as it was archived; what could be recalled stays */
export async function runRecall(parts: RecallParts, plan: RecallPlan): Promise<RecallOutcome> {
  const { config, signal } = parts;
  const { request, to, dataset, manifest } = plan;
  refuseConflicts(plan, request);
  const findings = createFindings(parts, dataset, request.actor);
  const { state_dir } = config;
  const keep = config.stage.reserve_bytes;
  const holder = `recall of ${dataset.name}`;
  const space = reserveSpace({ folder: to, bytes: plan.need, keep, state_dir, holder });
  try {
    const target = await openRecallTarget(to, request);
    try {
      const from: RecallOutcome['from'][number][] = [];
      for (const copy of plan.copies) {
        if (missingOf(plan) === 0) break;
        const recalled = await recallFrom({ parts, plan, copy, findings, target });
        if (recalled !== null) from.push(recalled);
        space.spent(from.reduce((sum, { bytes }) => sum + bytes, 0));
      }
      signal?.throwIfAborted();
      await target.complete();
      refuseMissing(plan, findings);
      return { from, damaged: findings.damaged().map(({ archive, path }) => [archive, path]) };
    } finally {
      await target.close();
    }
  } finally {
    space.release();
    manifest.close();
  }
}

interface Round {
  readonly parts: RecallParts;
  readonly plan: RecallPlan;
  readonly copy: OpenCopy;
  readonly findings: Findings;
  readonly target: Awaited<ReturnType<typeof openRecallTarget>>;
}

/** Null when the copy could not be opened. */
async function recallFrom({
  parts,
  plan,
  copy,
  findings,
  target,
}: Round): Promise<RecallOutcome['from'][number] | null> {
  const { config, signal, listener } = parts;
  const { archive, key, at, size } = copy;
  if (!at.capabilities.range && plan.ranges > 0) listener.say(wholeText(copy, config.paths.scratch));
  const onFetch = (bytes: number): void => listener.onProgress?.('fetch', bytes, size);
  let bundle: ReadableBundle | null = null;
  try {
    // Links and empty files need no byte of the bundle.
    if (plan.ranges > 0)
      bundle = await openReadable({
        archive: at,
        key,
        size,
        ...fetchPlace(config),
        signal,
        onProgress: onFetch,
      });
  } catch (error) {
    signal?.throwIfAborted();
    await findings.problem({ archive, key, error: coerceError(error) });
    return null;
  }
  try {
    const { failure, ...recalled } = await recallMembers({
      manifest: plan.manifest.path,
      asked: createAsked(plan.request.paths),
      target,
      read: bundle?.read ?? noData,
      done: plan.done,
      signal,
      onProgress: (bytes) => listener.onProgress?.('recall', bytes, plan.range_bytes),
      onDamage: (piece, error) => findings.damage(copy, piece, error),
    });
    signal?.throwIfAborted();
    if (failure !== null) await findings.problem({ archive, key, error: coerceError(failure) });
    return { archive, path: at.locate(key), ...recalled };
  } finally {
    await bundle?.close();
  }
}

async function* noData(): AsyncGenerator<Buffer> {}

export const wholeText = ({ archive, size }: OpenCopy, scratch: string): string =>
  `archive ${archive} gives no parts: the whole bundle (${humanBytes(size)}) is fetched to ${scratch} first`;

const missingOf = ({ members, done }: RecallPlan): number =>
  members - done.reduce((sum, one) => sum + one, 0);

function refuseMissing(plan: RecallPlan, findings: Findings): void {
  const missing = missingOf(plan);
  if (missing === 0) return;
  const lost = findings.damaged().filter(({ index }) => plan.done[index] !== 1);
  const [first] = lost;
  const told = { missing, recalled: plan.members - missing };
  if (first === undefined) throw findings.lastProblem() ?? new Error(`${missing} members were not recalled`);
  const more = missing > 1 ? `, nor ${missing - 1} more` : '';
  throw new LongshoreError(
    'E_BUNDLE_CORRUPT',
    `"${first.path}" cannot be recalled${more}: the copy in archive ${first.archive} is damaged (${first.error.message})`,
    {
      fields: {
        ...first.error.fields,
        archive: first.archive,
        ...told,
        damaged: lost.map(({ archive, path }) => [archive, path]),
      },
      hint: 'Keep the bundle; compare the copies with `longshore fixity`. What is not damaged has been recalled.',
      cause: first.error,
    },
  );
}

function freeAt(to: string): number {
  let at = to;
  while (statSync(at, { throwIfNoEntry: false })?.isDirectory() !== true && at !== dirname(at))
    at = dirname(at);
  const { bavail, bsize } = statfsSync(at);
  return bavail * bsize;
}
