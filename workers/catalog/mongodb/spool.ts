/** The spool of a fleet in MongoDB: what one host could not tell the API another one delivers, in one order. */
import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { insertOnce } from '../../mongodb/change.ts';
import type { Mongo } from '../../mongodb/connection.ts';
import { nextNumber } from '../../mongodb/counter.ts';
import { isDuplicateKey } from '../../mongodb/failure.ts';
import { fromJson, now, toJson } from '../../sqlite/values.ts';
import { isAlive, isDue, LEASE_MS, type RefusedEntry, type Spool } from '../rest/spool.ts';

interface EntryRecord {
  _id: number;
  lane: string;
  kind: string;
  /** JSON: its keys may hold what a field must not. */
  body: string;
  attempts: number;
  created_at: string;
  due_at: number;
  error: string | null;
  refused_at: string | null;
}

interface LaneRecord {
  _id: string;
  owner: string;
  host: string;
  pid: number;
  until: number;
}

/** That one look has to do with. */
const MOST_LANES = 200;

const WAITING = { refused_at: null };

const entryOf = ({ _id, body, error, refused_at, ...rest }: EntryRecord): RefusedEntry => ({
  ...rest,
  id: _id,
  body: fromJson(body),
  error: error ?? '',
  refused_at: refused_at ?? '',
});

/** @param page entries that are read at once */
export function mongodbSpool(mongo: Mongo, page = 20_000): Spool {
  const owner = randomUUID();
  const entries = mongo.collection<EntryRecord>('longshore_api_spool');
  const lanes = mongo.collection<LaneRecord>('longshore_api_lanes');
  const processes = mongo.collection<{ _id: number; api_id: number }>('longshore_api_processes');
  const health = mongo.collection<{ _id: string; failures: number; down_until: number }>(
    'longshore_api_health',
  );
  const set = async (id: number, fields: Partial<EntryRecord>): Promise<void> => {
    await mongo.run(() => entries.updateOne({ _id: id }, { $set: fields }));
  };

  /** Of a holder that has died, or has not renewed it: only while it still is his. */
  async function takeFrom(holder: LaneRecord): Promise<boolean> {
    const { _id, until } = holder;
    const mine = { owner, host: hostname(), pid: process.pid, until: Date.now() + LEASE_MS };
    const done = await mongo.run(() => lanes.updateOne({ _id, owner: holder.owner, until }, { $set: mine }));
    if (done.matchedCount === 1) return true;
    return (await mongo.run(() => lanes.findOne({ _id })))?.owner === owner;
  }

  return {
    add: async ({ lane, kind, body, due_at = 0 }) => {
      const _id = await nextNumber(mongo, 'api_spool');
      const fresh = { lane, kind, body: toJson(body), attempts: 0, created_at: now(), due_at };
      await insertOnce(mongo, entries, { _id, ...fresh, error: null, refused_at: null });
      return _id;
    },
    first: async (lane) => {
      const found = await mongo.run(() =>
        entries
          .find({ lane, ...WAITING })
          .sort({ _id: 1 })
          .limit(1)
          .toArray(),
      );
      return found[0] === undefined ? null : entryOf(found[0]);
    },
    waiting: (lane) =>
      mongo.run(() => entries.countDocuments({ ...WAITING, ...(lane === undefined ? {} : { lane }) })),
    oldest: async () => {
      const found = await mongo.run(() => entries.find(WAITING).sort({ _id: 1 }).limit(1).toArray());
      return found[0]?.created_at ?? null;
    },
    busy: async (among) =>
      new Set(await mongo.run(() => entries.distinct('lane', { ...WAITING, lane: { $in: [...among] } }))),
    bodiesOf: async (kind) => {
      const found = await mongo.run(() => entries.find({ kind }).sort({ _id: 1 }).toArray());
      return found.map(({ body }) => fromJson<Record<string, unknown>>(body));
    },
    dueLanes: async (at) => {
      const due: string[] = [];
      const seen = new Set<string>();
      // Without an aggregation, which not every server of this protocol has: the first of each lane decides. A lane that has
      // to wait may hold more entries than are read at once: it must not hide those behind it.
      for (;;) {
        const others = seen.size === 0 ? {} : { lane: { $nin: [...seen] } };
        const found = await mongo.run(() =>
          entries
            .find({ ...WAITING, ...others }, { projection: { lane: 1, due_at: 1 } })
            .sort({ _id: 1 })
            .limit(page)
            .toArray(),
        );
        for (const { lane, due_at } of found) {
          if (seen.has(lane)) continue;
          seen.add(lane);
          if (isDue(due_at, at)) due.push(lane);
        }
        if (found.length < page || due.length >= MOST_LANES) return due.slice(0, MOST_LANES);
      }
    },
    take: async (lane) => {
      const holder = await mongo.run(() => lanes.findOne({ _id: lane }));
      if (holder === null) {
        try {
          const mine = { owner, host: hostname(), pid: process.pid, until: Date.now() + LEASE_MS };
          await mongo.run(() => lanes.insertOne({ _id: lane, ...mine }));
          return true;
        } catch (error) {
          if (!isDuplicateKey(error)) throw error;
          return (await mongo.run(() => lanes.findOne({ _id: lane })))?.owner === owner;
        }
      }
      const dead = holder.host === hostname() && !isAlive(holder.pid);
      if (holder.owner !== owner && !isDue(holder.until) && !dead) return false;
      return await takeFrom(holder);
    },
    release: async (lane) => {
      await mongo.run(() => lanes.deleteOne({ _id: lane, owner }));
    },
    begun: async (id) => {
      await mongo.run(() => entries.updateOne({ _id: id }, { $inc: { attempts: 1 } }));
    },
    done: async (id) => {
      await mongo.run(() => entries.deleteOne({ _id: id }));
    },
    later: (id, due_at) => set(id, { due_at }),
    refused: (id, error) => set(id, { error, refused_at: now() }),
    allRefused: async () =>
      (
        await mongo.run(() =>
          entries
            .find({ refused_at: { $ne: null } })
            .sort({ _id: 1 })
            .toArray(),
        )
      ).map(entryOf),
    health: async () => {
      const found = await mongo.run(() => health.findOne({ _id: 'api' }));
      return { failures: found?.failures ?? 0, down_until: found?.down_until ?? 0 };
    },
    setHealth: async (state) => {
      await mongo.run(() => health.updateOne({ _id: 'api' }, { $set: state }, { upsert: true }));
    },
    keepProcess: async (id, api_id) => {
      await mongo.run(() => processes.updateOne({ _id: id }, { $set: { api_id } }, { upsert: true }));
    },
    processOf: async (id) => (await mongo.run(() => processes.findOne({ _id: id })))?.api_id ?? null,
    close: async () => undefined, // The client belongs to the store.
  };
}
