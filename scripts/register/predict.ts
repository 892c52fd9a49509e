import { basename } from 'node:path';
import type { Catalog } from '../../workers/catalog/contract.ts';
import { normaliseName } from '../../workers/dataset/name.ts';
import type { LongshoreError } from '../../workers/errors.ts';
import { lacksWorkflow, type RegistrationOutcome } from '../../workers/watch/registration.ts';
import { printable } from '../cli/format.ts';
import { asTyped } from '../cli/typed.ts';
import type { Candidate, Refused } from './candidates.ts';

/** One line of the answer: what was done with a folder, or would be. */
export interface Row {
  folder: string;
  name: string;
  outcome: RegistrationOutcome['outcome'] | 'would create' | 'would complete';
  dataset_id: number | null;
  workflow_id: string | null;
  note: string;
  /** Of what failed: what to do about it. */
  hint?: string;
}

/** What registration would do, from reads alone. `catalog` null: there is none yet, so nothing is taken. */
export async function predict(candidates: readonly Candidate[], catalog: Catalog | null): Promise<Row[]> {
  const earlier = new Map<string, string>();
  const rows: Row[] = [];
  for (const { folder, dataset } of candidates) {
    const name = normaliseName(dataset.name);
    const row = { folder, name, dataset_id: null, workflow_id: null, note: '' };
    const found = await catalog?.list({ type: dataset.type, name, match_name_exact: true });
    // The filter does not mind the case, the name does.
    const existing = found?.datasets.find((one) => one.name === name);
    const twin = earlier.get(name);
    earlier.set(name, folder);
    if (catalog !== null && existing?.origin_path === dataset.origin_path) {
      const told = (await lacksWorkflow(catalog, existing.id)) ? LACKING : PRESENT;
      rows.push({ ...row, ...told, dataset_id: existing.id });
    } else if (existing !== undefined)
      rows.push({ ...row, outcome: 'taken', dataset_id: existing.id, note: takenNote(existing.origin_path) });
    else if (twin !== undefined) rows.push({ ...row, outcome: 'taken', note: takenNote(twin) });
    else rows.push({ ...row, outcome: 'would create' });
  }
  return rows;
}

const PRESENT = { outcome: 'present', note: 'registered already' } as const;
const LACKING = { outcome: 'would complete', note: 'it has no workflow' } as const;

export function rowOf({ folder, dataset }: Candidate, result: RegistrationOutcome): Row {
  if (result.outcome === 'failed') return failedRow(folder, dataset.name, result.error);
  const { outcome, dataset: recorded, workflow_id = null } = result;
  const notes = {
    created: '',
    completed: 'it had no workflow',
    present: 'registered already',
    taken: takenNote(recorded.origin_path),
  };
  return {
    folder,
    name: recorded.name,
    outcome,
    dataset_id: recorded.id,
    workflow_id,
    note: notes[outcome],
  };
}

export const refusedRow = ({ folder, error }: Refused): Row => failedRow(folder, basename(folder), error);

function failedRow(folder: string, name: string, { code, message, hint }: LongshoreError): Row {
  return {
    folder,
    name: normaliseName(name),
    outcome: 'failed',
    dataset_id: null,
    workflow_id: null,
    note: `${code}: ${message}`,
    hint: asTyped(hint),
  };
}

/** What to do about those that failed, each once, on stderr as every command says it. */
export function tellHints(rows: readonly Row[]): void {
  for (const hint of new Set(rows.flatMap((row) => row.hint ?? [])))
    process.stderr.write(`${printable(hint)}\n`);
}

/** What a person may do about a name that is taken. */
export const RENAME = 'use --prefix or --suffix';

const takenNote = (origin: string): string => `the name belongs to ${origin}; ${RENAME}`;
