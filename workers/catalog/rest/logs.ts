/**
 * Lines of programs on their way to the API, by the spool: a task never waits for them, and what an outage or a killed
 * process leaves is delivered by others. The records have them in any case.
 *
 * The API can be asked neither for a process nor for its lines, so that what may have arrived is sent again: a line may
 * stand there twice after a dropped connection, and none is missing.
 */
import type { ApiLogLine } from '../../bioloop/endpoints-workflows.ts';
import type { BioloopApi } from '../../bioloop/endpoints.ts';
import { isLongshoreError, LongshoreError } from '../../errors.ts';
import type { Logger } from '../../log.ts';
import type { LogLine, ProcessRegistration } from '../../records/contract.ts';
import type { Spool, SpoolEntry } from './spool.ts';

/** Of one post. */
const BATCH_LINES = 1000;
const BATCH_BYTES = 4_000_000;
/** So long the API is given to hear of a process's workflow. After that the process is told without it. */
const WORKFLOW_PATIENCE_MS = 120_000;

export interface LogTelling {
  /** `id`: of the process in the records. */
  process(id: number, process: ProcessRegistration): Promise<void>;
  lines(id: number, lines: readonly LogLine[]): Promise<void>;
}

const laneOf = (id: number): string => `process:${id}`;

/** In the background: `due_at` is not yet reached when it is added. */
const soon = (): number => Date.now() + 1;

export const logTelling = (spool: Spool): LogTelling => ({
  process: async (id, process) => {
    await spool.add({ lane: laneOf(id), kind: 'process', body: { id, process }, due_at: soon() });
  },
  lines: async (id, lines) => {
    for (const batch of batchesOf(lines))
      await spool.add({
        lane: laneOf(id),
        kind: 'lines',
        body: { id, lines: batch },
        due_at: soon(),
        durable: false,
      });
  },
});

/** @throws E_API_FAILED the API does not know the workflow yet */
export async function tellProcess(
  parts: { api: BioloopApi; spool: Spool; scale: number },
  entry: SpoolEntry,
): Promise<void> {
  const { id, process } = entry.body as unknown as { id: number; process: ProcessRegistration };
  const age = Date.now() - Date.parse(entry.created_at);
  const told = await parts.api.createProcess(process).catch(async (error: unknown) => {
    if (!isLongshoreError(error) || error.code !== 'E_API_CONFLICT' || process.workflow_id === null)
      throw error;
    if (age > WORKFLOW_PATIENCE_MS * parts.scale)
      return await parts.api.createProcess({ ...process, workflow_id: null });
    throw new LongshoreError('E_API_FAILED', `the API does not know workflow ${process.workflow_id} yet`, {
      fields: { workflow_id: process.workflow_id },
      hint: 'A workflow that was started by hand is linked after 20 s. The process and its lines follow then; nothing is to be done.',
    });
  });
  await parts.spool.keepProcess(id, told.id);
}

/** A line that the API refuses is left out, so that it does not keep the others away. */
export async function tellLines(
  parts: { api: BioloopApi; spool: Spool; log: Logger },
  entry: SpoolEntry,
): Promise<void> {
  const { id, lines } = entry.body as unknown as { id: number; lines: ApiLogLine[] };
  const process_id = await parts.spool.processOf(id);
  // The process itself was refused, and set aside with its error.
  if (process_id === null)
    throw new LongshoreError('E_API_REQUEST', `the API has no process for the lines of process ${id}`);
  const send = async (some: readonly ApiLogLine[]): Promise<void> => {
    try {
      await parts.api.addLogs(process_id, some);
    } catch (error) {
      if (!isLongshoreError(error) || error.code !== 'E_API_REQUEST') throw error;
      if (some.length === 1) {
        parts.log.warn(
          { err: error, process_id: id },
          'the API refuses a line of a program; the records have it',
        );
        return;
      }
      const half = Math.ceil(some.length / 2);
      await send(some.slice(0, half));
      await send(some.slice(half));
    }
  };
  await send(lines);
}

function* batchesOf(lines: readonly LogLine[]): Generator<ApiLogLine[]> {
  let batch: ApiLogLine[] = [];
  let bytes = 0;
  for (const line of lines) {
    if (batch.length >= BATCH_LINES || (batch.length > 0 && bytes + line.message.length > BATCH_BYTES)) {
      yield batch;
      batch = [];
      bytes = 0;
    }
    batch.push({ ...line, message: messageOf(line.message) });
    bytes += line.message.length * 3;
  }
  if (batch.length > 0) yield batch;
}

/** With its newline, as the reference sends it: never empty, which would be refused; without what PostgreSQL cannot hold. */
const messageOf = (message: string): string => {
  const text = message.replaceAll('\0', '\uFFFD').toWellFormed();
  return text.endsWith('\n') ? text : `${text}\n`;
};
