/**
 * Documents of `workflow_meta` that are no workflows, whoever wrote them. In lists they are left out; who asks for one of
 * them by its id is told what is odd about it, and may remove it.
 */
import { LongshoreError } from '../../errors.ts';
import { WORKFLOWS, type WorkflowRecord } from './documents.ts';

/**
 * What nobody can tell the next step of a workflow without; null: nothing is missing. What else may be odd is read as if it
 * were not known. By hand, not by a schema: loading zod takes half as long as the driver of MongoDB (80 ms), in every
 * process of a task.
 */
export function oddityOf({ steps }: { readonly steps?: unknown }): string | null {
  if (!Array.isArray(steps)) return `steps: ${notA('list', steps)}`;
  for (const [at, step] of steps.entries()) {
    const oddity = oddityOfStep(step);
    if (oddity !== null) return `steps.${at}${oddity}`;
  }
  return null;
}

function oddityOfStep(step: unknown): string | null {
  if (!isDocument(step)) return `: ${notA('document', step)}`;
  for (const field of ['name', 'task'])
    if (typeof step[field] !== 'string') return `.${field}: ${notA('text', step[field])}`;
  const runs = step.task_runs ?? [];
  if (!Array.isArray(runs)) return `.task_runs: ${notA('list', runs)}`;
  for (const [at, run] of runs.entries()) {
    const task_id: unknown = isDocument(run) ? run.task_id : undefined;
    if (typeof task_id !== 'string') return `.task_runs.${at}.task_id: ${notA('text', task_id)}`;
  }
  return null;
}

const isDocument = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const notA = (expected: string, value: unknown): string =>
  `expected a ${expected}, found ${value === undefined ? 'nothing' : JSON.stringify(value).slice(0, 60)}`;

/** @throws E_WORKFLOW_UNREADABLE */
export function assertReadable(record: WorkflowRecord): void {
  const oddity = oddityOf(record);
  if (oddity === null) return;
  throw new LongshoreError(
    'E_WORKFLOW_UNREADABLE',
    `the document "${record._id}" of ${WORKFLOWS} is no workflow (${oddity})`,
    { fields: { workflow_id: record._id, oddity } },
  );
}

/** So many are remembered; a database that holds more of them has its lines again. */
const MOST_TOLD = 10_000;
const told = new Set<string>();

/**
 * Without those that are no workflows: one must not hide the others of its page, nor stop the look at what is missing in
 * the queue. The reference's server leaves them out, too; they count in totals. A process tells each of them once: whoever
 * looks does so again in a few seconds, for ever.
 */
export async function readable(
  records: readonly WorkflowRecord[],
  teller: typeof tell = tell,
): Promise<WorkflowRecord[]> {
  const whole: WorkflowRecord[] = [];
  for (const record of records) {
    const oddity = oddityOf(record);
    if (oddity === null) whole.push(record);
    else await tellOnce(record, () => teller(record, oddity));
  }
  return whole;
}

/** By its id, which is a text only in what is a workflow. */
async function tellOnce({ _id }: { readonly _id: unknown }, telling: () => Promise<void>): Promise<void> {
  const id = String(_id);
  if (told.has(id)) return;
  if (told.size >= MOST_TOLD) told.clear();
  told.add(id);
  await telling();
}

/** Loaded where it is wanted: it costs every process of a task 15 ms. On stderr, as stdout may be what a command answers. */
async function tell({ _id }: WorkflowRecord, oddity: string): Promise<void> {
  const { createLogger } = await import('../../log.ts');
  createLogger('records', {}, { to: 2 }).error(
    { workflow_id: _id, oddity },
    'a document of workflow_meta is no workflow; it was left out',
  );
}
