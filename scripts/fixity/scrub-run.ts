/** One run of the scrub: copy after copy, until the budget is used up or nothing is due. */
import { openArchive } from '../../workers/archive/index.ts';
import type { CopyToProve as Candidate } from '../../workers/catalog/contract.ts';
import { createPace } from '../../workers/content/prove/pace.ts';
import type { Proof } from '../../workers/dataset/types.ts';
import { namesOf } from '../cli/find.ts';
import { createMeter } from '../cli/meter.ts';
import type { Session } from '../cli/session.ts';
import { raiseAlarms } from './alarms.ts';
import { adoptCopies } from './copies.ts';
import { isFinding } from '../../workers/dataset/types.ts';
import { proveAndRecord } from './prove.ts';
import { Budget, costOf, dueOf, levelOf, Outages, type ScrubLevel } from './rotation.ts';

export interface ScrubRow {
  readonly dataset_id: number;
  readonly name: string;
  readonly archive: string;
  readonly key: string;
  readonly size: number;
  readonly looked_at: string | null;
  readonly level: Proof['level'];
  /** `due`: in a dry run. */
  readonly result: Proof['result'] | 'due';
  readonly bytes: number;
  readonly seconds: number;
  readonly details: Readonly<Record<string, unknown>>;
}

export interface ScrubReport {
  readonly rows: readonly ScrubRow[];
  readonly bytes: number;
  /** Due, and not looked at for lack of budget. */
  readonly left: number;
  /** Due, and in a place that was found away before. */
  readonly away: number;
  /** From before copies were recorded. */
  readonly adopted: number;
}

export interface ScrubOptions {
  readonly max_bytes: number;
  readonly dry_run: boolean;
  readonly signal?: AbortSignal | undefined;
}

/** So many that those of an archive that is away do not hide all others. */
const CANDIDATES = 250_000;
const ACTOR = 'scrub';

export async function scrub(session: Session, options: ScrubOptions): Promise<ScrubReport> {
  const { config, store, log } = session;
  const { prove_every_days, max_bytes_per_second } = config.fixity;
  // Also of a run that was killed before it could tell.
  if (!options.dry_run) await raiseAlarms(session);
  const adopted = await adoptCopies(session, options.dry_run);
  const due = dueOf(await store.catalog.leastProven(CANDIDATES), prove_every_days);
  const budget = new Budget(options.max_bytes);
  const outages = new Outages();
  const pace = max_bytes_per_second === null ? null : createPace(max_bytes_per_second);
  const rows: ScrubRow[] = [];
  let [left, away] = [0, 0];
  for (const candidate of due) {
    options.signal?.throwIfAborted();
    const { level, cost } = planOf(session, candidate);
    if (outages.has(candidate)) away += 1;
    else if (!budget.allows(cost)) left += 1;
    else if (options.dry_run) {
      budget.spend(cost);
      rows.push(await plannedRow(session, candidate, level, cost));
    } else {
      const row = await scrubOne(session, candidate, level, { pace, signal: options.signal });
      budget.spend(row.bytes);
      outages.add(row);
      rows.push(rowOf(candidate, row.name, row));
    }
  }
  if (away > 0) log.warn({ copies: away }, 'copies in archives that are away were left for a later run');
  return { rows, bytes: budget.spent, left, away, adopted };
}

function planOf({ config }: Session, candidate: Candidate): { level: ScrubLevel; cost: number } {
  try {
    const archive = openArchive(config, candidate.archive);
    const level = levelOf(config, archive);
    return { level, cost: costOf(candidate, level, archive) };
  } catch {
    return { level: 'stream', cost: 0 }; // No longer configured; the proof says so.
  }
}

async function scrubOne(
  session: Session,
  candidate: Candidate,
  level: ScrubLevel,
  reading: { pace: ReturnType<typeof createPace> | null; signal: AbortSignal | undefined },
): Promise<Proof & { name: string }> {
  const { dataset_id, archive, size } = candidate;
  const { name } = await session.store.catalog.get(dataset_id);
  const label = `${dataset_id} ${name} in ${archive}`;
  const meter = createMeter(process.stderr, { label, total: size });
  const { pace, signal } = reading;
  const proof = await proveAndRecord(session, {
    dataset_id,
    copy: candidate,
    level,
    actor: ACTOR,
    pace,
    ...(signal === undefined ? {} : { signal }),
    onProgress: (bytes) => meter.set(bytes),
  }).finally(() => meter.end());
  if (isFinding(proof)) await raiseAlarms(session, { dataset_id });
  return { ...proof, name };
}

async function plannedRow(
  { store }: Session,
  candidate: Candidate,
  level: ScrubLevel,
  bytes: number,
): Promise<ScrubRow> {
  const name = (await namesOf(store, [candidate.dataset_id])).get(candidate.dataset_id) ?? '';
  return rowOf(candidate, name, { level, result: 'due', bytes, seconds: 0, details: {} });
}

const rowOf = (
  { dataset_id, archive, key, size, looked_at }: Candidate,
  name: string,
  {
    level,
    result,
    bytes,
    seconds,
    details,
  }: Pick<ScrubRow, 'level' | 'result' | 'bytes' | 'seconds' | 'details'>,
): ScrubRow => ({ dataset_id, name, archive, key, size, looked_at, level, result, bytes, seconds, details });
