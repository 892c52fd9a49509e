/**
 * Processes that tasks have started, and what they printed. Lines are kept as they come, many in a document: a line by
 * itself would cost a document and its index entries.
 */
import { LongshoreError } from '../../errors.ts';
import { insertOnce } from '../../mongodb/change.ts';
import type { Mongo } from '../../mongodb/connection.ts';
import { nextNumber } from '../../mongodb/counter.ts';
import { fromJson, toJson } from '../../sqlite/values.ts';
import type { LogLine, ProcessRegistration, Records } from '../contract.ts';

type LogRow = LogLine & { id: number; process_id: number; step: string };
type LogQuery = Parameters<Records['logs']>[0];

type ProcessRecord = ProcessRegistration & { _id: number };

interface Chunk {
  /** Id of its first line; the others follow. */
  _id: number;
  process_id: number;
  /** Id of its last line. */
  to: number;
  /** The lines as JSON: one value to be read past, where they are not wanted. */
  lines: string;
}

const processesOf = (mongo: Mongo) => mongo.collection<ProcessRecord>('longshore_processes');
const chunksOf = (mongo: Mongo) => mongo.collection<Chunk>('longshore_logs');

const LINES_AT_ONCE = 2_000;
/** UTF-16 units, so at most three times as many bytes; a document may have 16 MiB. */
const TEXT_AT_ONCE = 2 * 1024 ** 2;

export function logRecords(
  mongo: Mongo,
): Pick<Records, 'registerProcess' | 'appendLogs' | 'logs' | 'forgetLogs'> {
  return {
    registerProcess: async (process) => {
      const _id = await nextNumber(mongo, 'processes');
      await insertOnce(mongo, processesOf(mongo), { _id, ...process });
      return _id;
    },
    appendLogs: async (process_id, lines) => {
      for (const batch of batchesOf(lines)) await append(mongo, process_id, batch);
    },
    logs: (query) => selectLines(mongo, query),
    forgetLogs: (before, limit) => forgetLines(mongo, before, limit),
  };
}

function* batchesOf(lines: readonly LogLine[]): Generator<LogLine[]> {
  let batch: LogLine[] = [];
  let size = 0;
  for (const line of lines) {
    if (batch.length === LINES_AT_ONCE || (batch.length > 0 && size + line.message.length > TEXT_AT_ONCE)) {
      yield batch;
      batch = [];
      size = 0;
    }
    batch.push({ timestamp: line.timestamp, level: line.level, message: line.message });
    size += line.message.length;
  }
  if (batch.length > 0) yield batch;
}

async function append(mongo: Mongo, process_id: number, lines: LogLine[]): Promise<void> {
  if ((await mongo.run(() => processesOf(mongo).findOne({ _id: process_id }))) === null)
    throw unrecorded(process_id, lines.length);
  const first = await nextNumber(mongo, 'log_lines', lines.length);
  await insertOnce(mongo, chunksOf(mongo), {
    _id: first,
    process_id,
    to: first + lines.length - 1,
    lines: toJson(lines),
  });
  // Its workflow may have been deleted at this moment: then the lines go with it.
  if ((await mongo.run(() => processesOf(mongo).findOne({ _id: process_id }))) !== null) return;
  await mongo.run(() => chunksOf(mongo).deleteOne({ _id: first }));
  throw unrecorded(process_id, lines.length);
}

const unrecorded = (process_id: number, lines: number): LongshoreError =>
  new LongshoreError(
    'E_WORKFLOW_NOT_FOUND',
    `process ${process_id} is not recorded (any more); ${lines} lines of it cannot be kept`,
    { fields: { process_id } },
  );

/**
 * Chunks of all processes that are asked for, in order. Ids are given out before the lines are written, so of two
 * processes that print at once the later id may be seen first; the lines of one process are always in order.
 */
async function selectLines(mongo: Mongo, query: LogQuery): Promise<LogRow[]> {
  const { workflow_id, task_id, process_id, after = 0, limit = 1_000 } = query;
  const all = workflow_id === undefined && task_id === undefined && process_id === undefined;
  const processes = await mongo.run(() =>
    processesOf(mongo)
      .find({
        ...(workflow_id === undefined ? {} : { workflow_id }),
        ...(task_id === undefined ? {} : { task_id }),
        ...(process_id === undefined ? {} : { _id: process_id }),
      })
      .project<{ _id: number; step: string }>({ step: 1 })
      .toArray(),
  );
  if (processes.length === 0) return [];
  const steps = new Map(processes.map(({ _id, step }) => [_id, step]));
  const owner = all ? {} : { process_id: { $in: [...steps.keys()] } };
  const rows: LogRow[] = [];
  for (let from = after; rows.length < limit; ) {
    const chunks = await mongo.run(() =>
      chunksOf(mongo)
        .find({ ...owner, to: { $gt: from } })
        .sort({ to: 1 })
        .limit(CHUNKS_AT_ONCE)
        .toArray(),
    );
    for (const { _id, process_id: owned, lines } of chunks) {
      for (const [place, line] of fromJson<LogLine[]>(lines).entries()) {
        const id = _id + place;
        if (id > after && rows.length < limit)
          rows.push({ ...line, id, process_id: owned, step: steps.get(owned) ?? '' });
      }
    }
    const last = chunks.at(-1);
    if (last === undefined || chunks.length < CHUNKS_AT_ONCE) break;
    from = last.to;
  }
  return rows;
}

const CHUNKS_AT_ONCE = 16;
const PROCESSES_AT_ONCE = 200;

/**
 * The first of all are looked at: ids are given in the order of time, which no index has. The lines go before their process,
 * so that whoever is killed in between leaves nothing that nobody finds again.
 */
async function forgetLines(mongo: Mongo, before: string, limit: number): Promise<number> {
  const oldest = await mongo.run(() =>
    processesOf(mongo)
      .find({}, { projection: { start_time: 1 } })
      .sort({ _id: 1 })
      .limit(PROCESSES_AT_ONCE)
      .toArray(),
  );
  let removed = 0;
  for (const { _id: process_id } of oldest.filter(({ start_time }) => start_time < before)) {
    for (let some = CHUNKS_AT_ONCE; some === CHUNKS_AT_ONCE; ) {
      if (removed >= limit) return removed;
      const chunks = await mongo.run(() =>
        chunksOf(mongo)
          .find({ process_id }, { projection: { to: 1 } })
          .limit(CHUNKS_AT_ONCE)
          .toArray(),
      );
      const ids = chunks.map(({ _id }) => _id);
      await mongo.run(() => chunksOf(mongo).deleteMany({ _id: { $in: ids } }));
      removed += chunks.reduce((sum, { _id, to }) => sum + to - _id + 1, 0);
      some = chunks.length;
    }
    await mongo.run(() => processesOf(mongo).deleteOne({ _id: process_id }));
  }
  return removed;
}

/** The processes first: whoever appends to one looks for it after it has written. */
export async function deleteLogs(mongo: Mongo, workflow_id: string): Promise<void> {
  const found = await mongo.run(() =>
    processesOf(mongo)
      .find({ workflow_id }, { projection: { _id: 1 } })
      .toArray(),
  );
  const ids = found.map(({ _id }) => _id);
  await mongo.run(() => chunksOf(mongo).deleteMany({ process_id: { $in: ids } }));
  await mongo.run(() => processesOf(mongo).deleteMany({ workflow_id }));
  await mongo.run(() => chunksOf(mongo).deleteMany({ process_id: { $in: ids } }));
}
