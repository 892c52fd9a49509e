/**
 * The files of a dataset, one document each, written and read in pages. The id is `<dataset>/<path>`: it keeps paths
 * unique and in order, and no other index has to be written for a million rows.
 */
import type { AnyBulkWriteOperation } from 'mongodb';
import type { FileRow } from '../../dataset/types.ts';
import type { Mongo } from '../../mongodb/connection.ts';
import { isDuplicateKey } from '../../mongodb/failure.ts';
import { longOf } from '../../mongodb/values.ts';
import { wellFormed } from '../../sqlite/values.ts';
import type { FileCatalog } from '../contract.ts';
import { readDataset } from './documents.ts';

type FileRecord = Omit<FileRow, 'path'> & { _id: string; generation: string };

const ROWS_AT_ONCE = 1_000;

const filesOf = (mongo: Mongo) => mongo.collection<FileRecord>('longshore_files');

/** All ids of a dataset: `/` is followed by `0`. */
const rangeOf = (id: number, after = '') => ({ $gt: `${id}/${after}`, $lt: `${id}0` });

export function fileCatalog(mongo: Mongo): FileCatalog {
  return {
    putFiles: async (id, rows, generation) => {
      await readDataset(mongo, id);
      for (let start = 0; start < rows.length; start += ROWS_AT_ONCE) {
        const batch = rows.slice(start, start + ROWS_AT_ONCE);
        await putBatch(
          mongo,
          batch.map((row) => recordOf(id, row, generation)),
        );
      }
    },
    sweepFiles: async (id, generation) => {
      await readDataset(mongo, id);
      const gone = { _id: rangeOf(id), generation: { $ne: generation } };
      return (await mongo.run(() => filesOf(mongo).deleteMany(gone))).deletedCount;
    },
    files: async (id, { after = '', limit }) => {
      await readDataset(mongo, id);
      if (limit <= 0) return [];
      const found = await mongo.run(() =>
        filesOf(mongo)
          .find({ _id: rangeOf(id, after) })
          .sort({ _id: 1 })
          .limit(limit)
          .toArray(),
      );
      return found.map((record) => rowOf(id, record));
    },
    filesAt: async (id, paths) => {
      await readDataset(mongo, id);
      const ids = paths.map((path) => `${id}/${path}`);
      const found = await mongo.run(() =>
        filesOf(mongo)
          .find({ _id: { $in: ids } })
          .toArray(),
      );
      return found.map((record) => rowOf(id, record));
    },
    countFiles: (id) => mongo.run(() => filesOf(mongo).countDocuments({ _id: rangeOf(id) })),
  };
}

function recordOf(id: number, { path, ...row }: FileRow, generation: string): FileRecord {
  const _id = `${id}/${wellFormed('file path', path)}`;
  return { _id, ...row, size: longOf(`size of ${path}`, row.size), generation };
}

function rowOf(id: number, { _id, type, size, md5, digests, fingerprint }: FileRecord): FileRow {
  const path = _id.slice(String(id).length + 1);
  return { path, type, size, md5, digests, ...(fingerprint === undefined ? {} : { fingerprint }) };
}

/**
 * New rows are inserted, which costs a fraction of a replacement; a first inspection has no others. In order, so that a
 * process that is killed leaves a first part of the batch.
 */
async function putBatch(mongo: Mongo, records: readonly FileRecord[]): Promise<void> {
  const there = await idsOf(mongo, records);
  const operations = records.map((record): AnyBulkWriteOperation<FileRecord> => {
    if (!there.has(record._id)) return { insertOne: { document: record } };
    return { replaceOne: { filter: { _id: record._id }, replacement: record, upsert: true } };
  });
  if (operations.length === 0) return;
  try {
    await mongo.run(() => filesOf(mongo).bulkWrite(operations));
  } catch (error) {
    if (!isDuplicateKey(error)) throw error;
    // Somebody else, or we ourselves before the answer was lost, inserted some of them in the meantime.
    const all = records.map((record) => ({
      replaceOne: { filter: { _id: record._id }, replacement: record, upsert: true },
    }));
    await mongo.run(() => filesOf(mongo).bulkWrite(all));
  }
}

async function idsOf(mongo: Mongo, records: readonly FileRecord[]): Promise<Set<string>> {
  const ids = records.map(({ _id }) => _id);
  const found = await mongo.run(() =>
    filesOf(mongo)
      .find({ _id: { $in: ids } }, { projection: { _id: 1 } })
      .toArray(),
  );
  return new Set(found.map(({ _id }) => _id));
}
