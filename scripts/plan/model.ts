/** What a plan says. Sizes are bytes; null: not known. */
import type { ErrorCode } from '../../workers/errors.ts';

/** Bytes that are read or written at a place, or a thing that is removed from it. */
export interface Item {
  readonly what: string;
  readonly path: string;
  readonly bytes: number | null;
  readonly files: number | null;
}

export interface Link {
  readonly path: string;
  readonly target: string;
}

/** Room that a step will ask for before it moves a byte. */
export interface Need {
  readonly folder: string;
  readonly bytes: number;
}

/** Something that would stop it: the error that it would end with, or be refused with. */
export interface Stop {
  readonly step: string | null;
  readonly code: ErrorCode;
  readonly message: string;
  readonly hint: string;
}

/** Amounts by which past runs are compared: what the time of a task depends on. */
export interface Amount {
  readonly unit: 'bytes' | 'files';
  readonly amount: number | null;
}

export interface Expectation {
  readonly seconds: number;
  /** Of the runs it was taken from: median, in bytes or files per second. */
  readonly rate: number;
  readonly unit: Amount['unit'];
  readonly runs: number;
  /** There were only runs of much smaller datasets to go by. */
  readonly from_smaller: boolean;
}

export interface PlannedStep {
  readonly step: string;
  readonly task: string;
  readonly reads: readonly Item[];
  readonly writes: readonly Item[];
  readonly removes: readonly Item[];
  readonly links: readonly Link[];
  readonly needs: readonly Need[];
  readonly notes: readonly string[];
  /** What its time depends on; null: on nothing that is known beforehand. */
  readonly amount: Amount | null;
  /** Null: no run to go by. */
  readonly expected: Expectation | null;
}

/** One file system, with what all steps of the plan need on it. */
export interface Room {
  readonly folders: readonly string[];
  readonly need: number;
  readonly available: number;
  readonly free: number;
  readonly reserved: number;
  readonly keep: number;
}

export interface Plan {
  readonly workflow: string;
  readonly dataset_id: number;
  readonly dataset: string;
  readonly type: string;
  /** `join`: another workflow brings the same. `nothing`: it is so already. */
  readonly would: 'start' | 'join' | 'nothing' | 'stop';
  /** The workflow that would be joined, or why there is nothing to do. */
  readonly because: string | null;
  readonly steps: readonly PlannedStep[];
  readonly space: readonly Room[];
  readonly stops: readonly Stop[];
  readonly totals: Totals;
}

export interface Totals {
  readonly read: number;
  readonly written: number;
  readonly removed: number;
  /** Null: the time of a step is not known. */
  readonly seconds: number | null;
}
