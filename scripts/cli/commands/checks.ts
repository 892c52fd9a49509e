/** What is refused before a workflow is started, because it could only fail. */
import { createInterface } from 'node:readline/promises';
import { pinOf, pinText } from '../../../workers/dataset/pin.ts';
import type { Dataset } from '../../../workers/dataset/types.ts';
import { LongshoreError } from '../../../workers/errors.ts';
import { facts } from '../dataset-view.ts';
import { bytes, oneLine } from '../format.ts';

export interface StartOptions {
  readonly follow?: boolean;
  readonly dryRun?: boolean;
  readonly json?: boolean;
  readonly yes?: boolean;
  readonly force?: boolean;
}

export type Check = (dataset: Dataset, options: StartOptions) => Promise<void>;

export const mustBeArchived: Check = async ({ id, name, archive_path }) => {
  if (archive_path !== null) return;
  throw new LongshoreError('E_NOT_ARCHIVED', `dataset ${id} (${name}) is not in the archive`, {
    hint: `Land it first: longshore start integrated ${id}.`,
  });
};

export const mustBeStaged: Check = async ({ id, name, is_staged }) => {
  if (is_staged) return;
  throw new LongshoreError('E_WORKFLOW_STATE', `dataset ${id} (${name}) has no staged copy to look at`, {
    hint: `Stage it first: longshore stage ${id}.`,
  });
};

/** The task looks again, and at the archive too; a pin is the one thing that nobody overrides. */
export const mustBePurgeable: Check = async (dataset, { force = false }) => {
  const { id, name, archive_path } = dataset;
  const pin = pinOf(dataset);
  if (pin !== null)
    throw new LongshoreError(
      'E_WORKFLOW_STATE',
      `the staged copy of dataset ${id} (${name}) is pinned ${pinText(pin)}`,
      { hint: `Take the pin away first: longshore unpin ${id}.` },
    );
  if (archive_path !== null || force) return;
  throw new LongshoreError(
    'E_NOT_ARCHIVED',
    `dataset ${id} (${name}) has no archived copy; the staged one may be the last`,
    { hint: `Archive it first: longshore archive ${id}. With --force the copy goes all the same.` },
  );
};

/** Deleting cannot be undone. */
export const mustBeMeant: Check = async (dataset, { yes, json }) => {
  if (!json)
    facts(process.stdout, [
      ['dataset', `${dataset.id} ${dataset.name} (${dataset.type}, ${bytes(dataset.size)})`],
      ['archive', dataset.archive_path],
      ['staged', dataset.staged_path],
      ['origin', `${dataset.origin_path} (stays)`],
    ]);
  if (yes) return;
  if (process.stdin.isTTY !== true || process.stdout.isTTY !== true)
    throw new LongshoreError(
      'E_USAGE',
      `delete dataset ${dataset.id} (${dataset.name})? Give --yes to say so`,
    );
  const answer = await ask(`Type the name (${oneLine(dataset.name)}) to delete it: `);
  if (answer === null)
    throw new LongshoreError('E_REVOKED', 'stopped before the name was typed; nothing was deleted', {
      hint: 'Type the name to delete it, or give --yes.',
    });
  if (answer.trim() === dataset.name) return;
  throw new LongshoreError('E_USAGE', 'the name does not match; nothing was deleted', {
    hint: 'Type the name as it is shown, or give --yes.',
  });
};

/** Null: left by Ctrl-C or Ctrl-D instead of an answer. */
async function ask(question: string): Promise<string | null> {
  const terminal = createInterface({ input: process.stdin, output: process.stdout });
  const left = new AbortController();
  // Of a question whose terminal is closed nothing is heard any more.
  terminal.once('close', () => left.abort());
  try {
    return await terminal.question(question, { signal: left.signal });
  } catch (error) {
    if ((error as Error).name !== 'AbortError') throw error;
    process.stdout.write('\n');
    return null;
  } finally {
    terminal.close();
  }
}
