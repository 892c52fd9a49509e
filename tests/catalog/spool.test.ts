import { hostname } from 'node:os';
import { DatabaseSync } from 'node:sqlite';
import { describe, expect, inject, onTestFinished, test, vi } from 'vitest';
import { mongodbSpool } from '../../workers/catalog/mongodb/spool.ts';
import { openSpool } from '../../workers/catalog/rest/spool.ts';
import { connectMongo } from '../../workers/mongodb/connection.ts';
import { startWireProxy } from '../mongodb/wire-proxy.ts';
import { describeMongodb, mongoPlace } from '../support/mongodb.ts';
import { makePlace } from '../support/place.ts';
import { deadPid, type Holder, type SpoolPlace, spoolBattery } from './contract-spool.ts';

async function inFile(): Promise<SpoolPlace> {
  const path = (await makePlace()).path('spool.db');
  return {
    open: async () => {
      const spool = await openSpool(path);
      onTestFinished(() => spool.close());
      return spool;
    },
    hold: async (lane, { pid, until }) => {
      const database = new DatabaseSync(path, { timeout: 5_000 });
      database.prepare('insert into lanes values (?, ?, ?, ?)').run(lane, 'somebody', pid, until);
      database.close();
    },
  };
}

async function inMongodb(url = inject('mongodb')) {
  const place = await mongoPlace({ mongodb: { url } });
  const connect = async () => {
    const mongo = await connectMongo(place.config);
    onTestFinished(() => mongo.close());
    return mongo;
  };
  const mongo = await connect();
  return {
    open: async (page?: number) => mongodbSpool(await connect(), page),
    hold: async (lane: string, holder: Holder) => {
      const lanes = mongo.collection<Holder & { _id: string; owner: string }>('longshore_api_lanes');
      await mongo.run(() => lanes.insertOne({ _id: lane, owner: 'somebody', ...holder }));
    },
  };
}

describe('a spool in a file', () => {
  spoolBattery(inFile);

  test('what is added and what is refused is on the disk when it is said to be; lines of programs may come later', async () => {
    const spool = await (await inFile()).open();
    const exec = vi.spyOn(DatabaseSync.prototype, 'exec');
    onTestFinished(() => exec.mockRestore());
    const isSynced = async (work: () => Promise<unknown>): Promise<boolean> => {
      exec.mockClear();
      await work();
      return exec.mock.calls.some(([statement]) => statement === 'pragma synchronous = full');
    };
    const entry = { lane: 'a', kind: 'state', body: {} };
    expect(await isSynced(() => spool.add(entry))).toBe(true);
    expect(await isSynced(() => spool.add({ ...entry, durable: false }))).toBe(false);
    const first = await spool.first('a');
    expect(await isSynced(() => spool.refused(first?.id ?? 0, 'no'))).toBe(true);
  });
});

describeMongodb('a spool in MongoDB', () => {
  spoolBattery(inMongodb);

  test('a lane that has to wait does not hide those behind it, however many entries it holds', async () => {
    const spool = await (await inMongodb()).open(3);
    const at = Date.now();
    const add = (lane: string, due_at: number) => spool.add({ lane, kind: 'state', body: {}, due_at });
    for (let turn = 0; turn < 7; turn++) await add('waits', at + 60_000);
    for (const lane of ['due', 'waits too', 'due', 'also due', 'due'])
      await add(lane, lane === 'waits too' ? at + 60_000 : at);
    expect(await spool.dueLanes(at)).toEqual(['due', 'also due']);
  });

  test('whether a process of another host has died is not known: its lease has to run out', async () => {
    const { open, hold } = await inMongodb();
    const spool = await open();
    const holder = { host: `not-${hostname()}`, pid: deadPid() };
    await hold('held', { ...holder, until: Date.now() + 60_000 });
    await hold('run out', { ...holder, until: Date.now() - 1 });
    expect([await spool.take('held'), await spool.take('run out')]).toEqual([false, true]);
  });

  test('who took a lane has it, and who added an entry added one, though the answers were lost', async () => {
    const proxy = await startWireProxy(inject('mongodb'));
    const { open, hold } = await inMongodb(proxy.url);
    const spool = await open();
    await hold('run out', { host: hostname(), pid: process.pid, until: Date.now() - 1 });
    proxy.decide = (_, nth) => (nth % 2 === 0 ? 'lose the answer' : 'pass');
    expect([await spool.take('new'), await spool.take('run out')]).toEqual([true, true]);
    await spool.add({ lane: 'new', kind: 'state', body: {} });
    expect(await spool.waiting()).toBe(1);
  });
});
