/**
 * The companion of a catalog that lies behind an API: a catalog of this installation that holds what the API cannot
 * store (copies, proofs, digests, generations of file rows), and a copy of what it says of each dataset that was worked
 * on, so that the work goes on while the API is away.
 */
import type { Bundle, Dataset } from '../dataset/types.ts';
import type { WorkflowDocument } from '../records/contract.ts';
import type { Catalog } from './contract.ts';

/** A dataset as the API tells of it. What is left out stays as it is here. */
export interface ToldDataset extends Omit<Dataset, 'bundle' | 'workflows' | 'project_id'> {
  bundle?: Pick<Bundle, 'name' | 'size' | 'md5'>;
}

/** That the dataset is new, and who brought it. */
export interface Arrival {
  readonly actor: string;
  readonly project_id: string | null;
  readonly workflow: WorkflowDocument | null;
}

/** What the API knows nothing of. */
export interface Extras {
  readonly project_id: string | null;
  readonly bundle: Bundle | null;
}

export interface Mirror {
  /** Takes over what the API says, in one unit with the workflow and the audit entry of an arrival. */
  adopt(dataset: ToldDataset, arrival?: Arrival): Promise<void>;
  has(id: number): Promise<boolean>;
  /** The one that is not deleted, by the very name. */
  idOf(name: string, type: string): Promise<number | null>;
  extras(ids: readonly number[]): Promise<Map<number, Extras>>;
  /** Notes that the file rows of a dataset are a part, which an inspection or a take-over has still to complete. */
  setFilesPartial(id: number, partial: boolean): Promise<void>;
  hasPartialFiles(id: number): Promise<boolean>;
}

export interface Companion {
  readonly catalog: Catalog;
  readonly mirror: Mirror;
}
