/**
 * What the API has yet to be told, in a place that all share who may have to tell it: a file on the disk of a host, or the
 * database of a fleet.
 *
 * Entries of one lane (a dataset) are delivered in the order in which they were added, by one process at a time; lanes do
 * not wait for each other. An entry stays until the API has taken it: whoever adds one and is killed has it delivered by
 * another process. One that the API refuses for good is set aside, with its error, and stays there.
 */
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import type { DatabaseSync } from 'node:sqlite';
import type { Config } from '../../../config/index.ts';
import { startOf } from '../../process-start.ts';
import { openDatabase } from '../../sqlite/database.ts';
import { fromJson, now, toJson } from '../../sqlite/values.ts';

export interface SpoolEntry {
  readonly id: number;
  readonly lane: string;
  readonly kind: string;
  readonly body: Record<string, unknown>;
  /** Tries that were begun; the last one of them may have been carried out. */
  readonly attempts: number;
  readonly created_at: string;
  /** Not before then, ms of the epoch. */
  readonly due_at: number;
}

export interface RefusedEntry extends SpoolEntry {
  readonly error: string;
  readonly refused_at: string;
}

export interface NewEntry {
  readonly lane: string;
  readonly kind: string;
  readonly body: Record<string, unknown>;
  readonly due_at?: number;
  /** Default true: synced to disk before the promise resolves. */
  readonly durable?: boolean;
}

export interface Spool {
  add(entry: NewEntry): Promise<number>;
  first(lane: string): Promise<SpoolEntry | null>;
  /** How many wait in the lane, or in all. */
  waiting(lane?: string): Promise<number>;
  /** When the first of those that wait was added. */
  oldest(): Promise<string | null>;
  /** Of these lanes, those in which something waits. */
  busy(lanes: readonly string[]): Promise<Set<string>>;
  /** What is yet to be said of this kind, refused entries included. */
  bodiesOf(kind: string): Promise<Record<string, unknown>[]>;
  /** Lanes that have a due entry and that nobody else delivers. */
  dueLanes(at: number): Promise<string[]>;
  /** False: another process has it. It is free again when that one has died, or has not renewed it for a while. */
  take(lane: string): Promise<boolean>;
  release(lane: string): Promise<void>;
  /** Before it is sent. */
  begun(id: number): Promise<void>;
  done(id: number): Promise<void>;
  later(id: number, due_at: number): Promise<void>;
  refused(id: number, error: string): Promise<void>;
  allRefused(): Promise<RefusedEntry[]>;
  /** Of the API as all processes of the host found it: not to be asked before `down_until` (ms). */
  health(): Promise<{ failures: number; down_until: number }>;
  setHealth(health: { failures: number; down_until: number }): Promise<void>;
  /** The API's id of a process of the records. */
  keepProcess(id: number, api_id: number): Promise<void>;
  processOf(id: number): Promise<number | null>;
  close(): Promise<void>;
}

const TABLES = `
  create table if not exists entries (
    id integer primary key autoincrement,
    lane text not null,
    kind text not null,
    body text not null,
    attempts integer not null default 0,
    created_at text not null,
    due_at integer not null default 0,
    error text,
    refused_at text
  ) strict;
  create index if not exists entries_lane on entries (lane, id) where refused_at is null;
  create table if not exists lanes (
    lane text primary key, owner text not null, pid integer not null, until integer not null
  ) strict;
  create table if not exists processes (id integer primary key, api_id integer not null) strict;
  create table if not exists health (
    one integer primary key check (one = 1), failures integer not null, down_until integer not null
  ) strict;
`;

/** Longer than a request takes that is silent to its end and is looked up then. */
export const LEASE_MS = 180_000;

/** What waits is put off for minutes at most. */
const LONGEST_WAIT_MS = 3_600_000;

/**
 * What is due later than anything is put off for was written while the clock of the host was ahead, as it may be after a
 * boot. Taken at its word it would wait for that time, hours or years. The same goes for the end of a lease.
 */
export const isDue = (due_at: number, at = Date.now()): boolean =>
  due_at <= at || due_at > at + LONGEST_WAIT_MS;

type Row = Omit<RefusedEntry, 'body'> & { body: string };

const entryOf = (row: Row): RefusedEntry => ({ ...row, body: fromJson(row.body) });

export const spoolPath = (config: Config): string => join(config.state_dir, 'api-spool.db');

export async function openSpool(path: string): Promise<Spool> {
  const database = await openDatabase(path, (connection: DatabaseSync) => connection.exec(TABLES));
  const owner = randomUUID();
  return {
    // It is all that is left of the change when the power fails.
    add: ({ lane, kind, body, due_at = 0, durable = true }) =>
      database.write(
        (sql) =>
          sql.run(
            'insert into entries (lane, kind, body, created_at, due_at) values (?, ?, ?, ?, ?)',
            lane,
            kind,
            toJson(body),
            now(),
            due_at,
          ).id,
        { durable },
      ),
    first: (lane) =>
      database.read((sql) => {
        const row = sql.get<Row>(
          'select * from entries where lane = ? and refused_at is null order by id limit 1',
          lane,
        );
        return row === undefined ? null : entryOf(row);
      }),
    waiting: (lane) =>
      database.read(
        (sql) =>
          sql.get<{ count: number }>(
            'select count(*) as count from entries where refused_at is null and (?1 is null or lane = ?1)',
            lane ?? null,
          )?.count ?? 0,
      ),
    oldest: () =>
      database.read(
        (sql) =>
          sql.get<{ at: string | null }>('select min(created_at) as at from entries where refused_at is null')
            ?.at ?? null,
      ),
    bodiesOf: (kind) =>
      database.read((sql) =>
        sql
          .all<{ body: string }>('select body from entries where kind = ? order by id', kind)
          .map(({ body }) => JSON.parse(body) as Record<string, unknown>),
      ),
    busy: (lanes) =>
      database.read(
        (sql) =>
          new Set(
            sql
              .all<{ lane: string }>(
                `select distinct lane from entries
                 where refused_at is null and lane in (select value from json_each(?))`,
                JSON.stringify(lanes),
              )
              .map(({ lane }) => lane),
          ),
      ),
    dueLanes: (at) =>
      database.read((sql) =>
        sql
          .all<{ lane: string }>(
            `select lane from entries where id in (select min(id) from entries where refused_at is null group by lane)
             and (due_at <= ? or due_at > ?) order by id limit 200`,
            at,
            at + LONGEST_WAIT_MS,
          )
          .map(({ lane }) => lane),
      ),
    take: (lane) =>
      database.write((sql) => {
        const holder = sql.get<{ owner: string; pid: number; until: number }>(
          'select owner, pid, until from lanes where lane = ?',
          lane,
        );
        const held = holder !== undefined && holder.owner !== owner && !isDue(holder.until);
        if (held && isAlive(holder.pid)) return false;
        sql.run(
          `insert into lanes (lane, owner, pid, until) values (?, ?, ?, ?) on conflict (lane)
           do update set owner = excluded.owner, pid = excluded.pid, until = excluded.until`,
          lane,
          owner,
          process.pid,
          Date.now() + LEASE_MS,
        );
        return true;
      }),
    release: (lane) =>
      database.write((sql) => {
        sql.run('delete from lanes where lane = ? and owner = ?', lane, owner);
      }),
    begun: (id) =>
      database.write((sql) => {
        sql.run('update entries set attempts = attempts + 1 where id = ?', id);
      }),
    done: (id) =>
      database.write((sql) => {
        sql.run('delete from entries where id = ?', id);
      }),
    later: (id, due_at) =>
      database.write((sql) => {
        sql.run('update entries set due_at = ? where id = ?', due_at, id);
      }),
    refused: (id, error) =>
      database.write(
        (sql) => {
          sql.run('update entries set error = ?, refused_at = ? where id = ?', error, now(), id);
        },
        { durable: true },
      ),
    allRefused: () =>
      database.read((sql) =>
        sql.all<Row>('select * from entries where refused_at is not null order by id').map(entryOf),
      ),
    health: () =>
      database.read(
        (sql) =>
          sql.get<{ failures: number; down_until: number }>('select failures, down_until from health') ?? {
            failures: 0,
            down_until: 0,
          },
      ),
    setHealth: ({ failures, down_until }) =>
      database.write((sql) => {
        sql.run(
          `insert into health (one, failures, down_until) values (1, ?, ?)
           on conflict (one) do update set failures = excluded.failures, down_until = excluded.down_until`,
          failures,
          down_until,
        );
      }),
    keepProcess: (id, api_id) =>
      database.write((sql) => {
        sql.run('insert or replace into processes (id, api_id) values (?, ?)', id, api_id);
      }),
    processOf: (id) =>
      database.read(
        (sql) => sql.get<{ api_id: number }>('select api_id from processes where id = ?', id)?.api_id ?? null,
      ),
    close: () => database.close(),
  };
}

/** On this host. Another process may have its number by now: then the lease has to run out. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return startOf(pid) !== null; // One that was killed has its number until its parent has noticed.
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
