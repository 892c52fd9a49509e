import type { LongshoreError } from '../../workers/errors.ts';
import type { Ground } from './ground.ts';
import type { Amount, Item, Link, Need } from './model.ts';

/** What a planner finds out about its step; the rest of the plan is made from it. */
export interface Draft {
  reads?: readonly Item[];
  writes?: readonly Item[];
  removes?: readonly Item[];
  links?: readonly Link[];
  needs?: readonly Need[];
  notes?: readonly string[];
  stops?: readonly LongshoreError[];
  /** What its time depends on; null: on nothing that is known beforehand. */
  amount: Amount | null;
}

/** Of one task. `kwargs` as the step will be given them. Reads only. */
export type Planner = (ground: Ground, kwargs: Readonly<Record<string, unknown>>) => Promise<Draft>;

export const item = (
  what: string,
  path: string,
  bytes: number | null = null,
  files: number | null = null,
): Item => ({ what, path, bytes, files });
