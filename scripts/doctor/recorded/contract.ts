/** What the doctor asks of what is recorded, whichever back end holds it. */
export interface Counted {
  readonly name: string;
  readonly count: number;
}

export interface StagedCopy {
  readonly type: string;
  readonly staged_path: string;
}

/** Of datasets that are not deleted, and of workflows that are under way. */
export interface Recorded {
  /** Datasets of each type. */
  types(): Promise<Counted[]>;
  /** Copies in each archive. */
  archives(): Promise<Counted[]>;
  /** Where the copies in an archive lie; a million of them are not held at once. */
  keys(archive: string): AsyncIterable<string>;
  staged(): AsyncIterable<StagedCopy>;
  /** Workflows whose steps name each queue. */
  queues(app_id: string): Promise<Counted[]>;
  /** Workflows whose steps name each task. */
  tasks(app_id: string): Promise<Counted[]>;
  close(): Promise<void>;
}
