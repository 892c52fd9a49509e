import { LongshoreError } from '../../errors.ts';
import { shownPath } from '../path.ts';
import { holdsMember } from './recall.ts';
import { type Asked, nearNames } from './paths.ts';
import { askedPieces, type Piece, rangesOf } from './plan.ts';
import { inTheWay, standingIn } from './target.ts';

/** What a recall would do, known before it does anything. */
export interface RecallSurvey {
  readonly members: number;
  readonly files: number;
  /** Of the files, holes included. */
  readonly bytes: number;
  /** Files and links that are there already, as the manifest has them. */
  readonly kept: number;
  /** To be fetched: requests, and the bytes they ask for at most. */
  readonly ranges: number;
  readonly range_bytes: number;
  /** Needed in the target at most. */
  readonly need: number;
  /** As [path, reason], 100 of them at most. */
  readonly conflicts: readonly (readonly [string, string])[];
  readonly num_conflicts: number;
  /** By the index of a member: 1 when it is there. */
  readonly done: Uint8Array;
}

export interface SurveyOptions {
  readonly manifest: string;
  readonly asked: Asked;
  readonly to: string;
  readonly signal?: AbortSignal | undefined;
  /** Of files that were there and are looked at. */
  onProgress?(bytes: number): void;
}

const MOST_CONFLICTS = 100;
const MEMBERS_PER_TURN = 1000;

/** @throws E_RECALL when something that was asked for is no member, with names like it */
export async function surveyRecall(options: SurveyOptions): Promise<RecallSurvey> {
  const { manifest, asked, to } = options;
  const standing = standingIn(to);
  const found = { members: 0, files: 0, bytes: 0, kept: 0, need: 0, num_conflicts: 0 };
  const conflicts: [string, string][] = [];
  let done = new Uint8Array(1024);
  let looked = 0;
  for (const piece of askedPieces(manifest, asked)) {
    const { member, index } = piece;
    while (index >= done.length) done = grown(done);
    found.members += 1;
    if (member.type === 'file') {
      found.files += 1;
      found.bytes += member.size;
    }
    let at = standing(member);
    if (at === 'likely') {
      at = (await holdsMember(to, member)) ? 'same' : { conflict: 'exists' };
      options.onProgress?.((looked += member.size));
    }
    if (typeof at === 'object') {
      found.num_conflicts += 1;
      if (conflicts.length < MOST_CONFLICTS) conflicts.push([shownPath(member.path), at.conflict]);
    }
    // A folder gets its mode and time at every recall: one that was killed may have left it without.
    if (at === 'same' && member.type !== 'directory') {
      done[index] = 1;
      found.kept += 1;
    } else if (member.type === 'file') found.need += Math.min(member.size, piece.end - piece.start);
    if (found.members % MEMBERS_PER_TURN !== 0) continue;
    options.signal?.throwIfAborted();
    await new Promise(setImmediate);
  }
  refuseMissed(manifest, asked);
  return { ...found, conflicts, done, ...countRanges(options, done) };
}

function grown(array: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const larger = new Uint8Array(array.length * 2);
  larger.set(array);
  return larger;
}

function refuseMissed(manifest: string, asked: Asked): void {
  const missed = asked.missed();
  const [first] = missed;
  if (first === undefined) return;
  const near = nearNames(manifest, first);
  throw new LongshoreError(
    'E_RECALL',
    `the dataset has no member "${first}"${missed.length > 1 ? `, nor ${missed.length - 1} more of what was asked for` : ''}`,
    {
      fields: { missing: missed, near },
      ...(near.length === 0 ? {} : { hint: `Did you mean ${near.map((path) => `"${path}"`).join(', ')}?` }),
    },
  );
}

function countRanges(
  { manifest, asked }: SurveyOptions,
  done: Uint8Array,
): { ranges: number; range_bytes: number } {
  let ranges = 0;
  let range_bytes = 0;
  function* missing(): Generator<Piece, void, undefined> {
    for (const piece of askedPieces(manifest, asked)) if (done[piece.index] !== 1) yield piece;
  }
  for (const next of rangesOf(missing())) {
    if (!('pieces' in next)) continue;
    ranges += 1;
    range_bytes += next.end - next.start;
  }
  return { ranges, range_bytes };
}

/** @throws E_RECALL naming the first thing in the way */
export function refuseConflicts(survey: RecallSurvey, { force }: { force: boolean }): void {
  // Files and links are replaced when that is asked for, folders never.
  const standing = force ? survey.conflicts.filter(([, reason]) => reason !== 'exists') : survey.conflicts;
  const [first] = standing;
  if (first === undefined) return;
  const [path, reason] = first;
  const error = inTheWay(path, reason);
  throw new LongshoreError('E_RECALL', error.message, {
    fields: { ...error.fields, conflicts: standing, total: survey.num_conflicts },
    hint: error.hint,
  });
}
