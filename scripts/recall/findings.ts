/** What a recall finds out about copies: said to the person at once, and written into the fixity ledger. */
import type { Piece } from '../../workers/content/recall/plan.ts';
import { shownPath } from '../../workers/content/path.ts';
import type { Dataset, Proof } from '../../workers/dataset/types.ts';
import type { LongshoreError } from '../../workers/errors.ts';
import type { CopyParts, CopyProblem, OpenCopy } from './copies.ts';

/** What a recall tells while it goes on. */
export interface RecallListener {
  /** Something that the person has to know: a copy that cannot be read, a damaged member, a long fetch ahead. */
  say(text: string): void;
  onProgress?(what: 'fetch' | 'recall' | 'look', bytes: number, total: number): void;
}

export interface RecallParts extends Omit<CopyParts, 'onProblem'> {
  readonly listener: RecallListener;
}

export interface Damage {
  readonly archive: string;
  readonly path: string;
  readonly index: number;
  readonly error: LongshoreError;
}

export interface Findings {
  /** A copy that cannot be read. One that is missing is a finding about the copy, an outage is not. */
  readonly problem: (problem: CopyProblem) => Promise<void>;
  size(copy: OpenCopy, expected: number): Promise<void>;
  damage(copy: OpenCopy, piece: Piece, error: LongshoreError): Promise<void>;
  damaged(): readonly Damage[];
  lastProblem(): LongshoreError | null;
}

/** Lines in the ledger for one recall; a bundle that is nothing but damage would add a million. */
const MOST_LINES = 50;
const MOST_DAMAGED = 10_000;

export function createFindings(
  { catalog, listener }: Pick<RecallParts, 'catalog' | 'listener'>,
  dataset: Dataset,
  actor: string,
): Findings {
  const damaged: Damage[] = [];
  let last: LongshoreError | null = null;
  const prove = (
    copy: { archive: string; key: string },
    line: Pick<Proof, 'level' | 'result' | 'bytes' | 'details'>,
  ) =>
    catalog.addProof({
      dataset_id: dataset.id,
      archive: copy.archive,
      key: copy.key,
      at: new Date().toISOString(),
      seconds: 0,
      actor,
      ...line,
      details: { by: 'recall', ...line.details },
    });
  return {
    problem: async ({ archive, key, error }) => {
      last = error;
      listener.say(`archive ${archive}: ${error.code}: ${error.message}`);
      if (error.code === 'E_BUNDLE_MISSING')
        await prove({ archive, key }, { level: 'size', result: 'missing', bytes: 0, details: {} });
    },
    size: async (copy, expected) => {
      const { archive, size: actual } = copy;
      listener.say(`archive ${archive}: the bundle has ${actual} bytes, expected ${expected}; it is damaged`);
      await prove(copy, {
        level: 'size',
        result: 'mismatch',
        bytes: 0,
        details: { what: 'size', expected, actual },
      });
    },
    damage: async (copy, { member, index }, error) => {
      const path = shownPath(member.path);
      listener.say(`archive ${copy.archive}: ${error.code}: ${error.message}`);
      if (damaged.length < MOST_DAMAGED) damaged.push({ archive: copy.archive, path, index, error });
      if (damaged.length > MOST_LINES) return;
      const { what = 'data', expected = null, actual = null } = error.fields;
      const details = { member: path, what, expected, actual };
      await prove(copy, { level: 'stream', result: 'mismatch', bytes: member.size, details });
    },
    damaged: () => damaged,
    lastProblem: () => last,
  };
}
