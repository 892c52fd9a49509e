/**
 * A replica set of two members in front of one server, for what no wire server on a developer's machine has: a driver that
 * knows of a primary, sessions, writes that it sends again by itself, and an election between two primaries.
 *
 * Each member answers `hello` as one of a set and hands on what it may do as primary. What a set keeps for a driver that
 * sends a write again (its answer, by session and transaction number) is kept here for both members. What FerretDB does not
 * know of these commands is taken out on the way.
 */
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { BSON, type Document } from 'mongodb';
import { onTestFinished } from 'vitest';
import { answerTo, type Message, readMessages, rewritten } from './wire.ts';

/**
 * How a primary leaves its place when a write comes to it.
 *
 * | fate           | the write                         | what the driver is told                                     |
 * | -------------- | --------------------------------- | ----------------------------------------------------------- |
 * | `refused`      | not done                          | NotWritablePrimary                                          |
 * | `interrupted`  | begun, and rolled back            | InterruptedDueToReplStateChange                             |
 * | `unreplicated` | done, and kept                    | done, but PrimarySteppedDown before a majority had it       |
 * | `lost`         | done, and kept                    | nothing: the member is killed, and its connections with it  |
 * | `rolled back`  | not done by the next one          | nothing, too                                                |
 */
export type Fate = 'refused' | 'interrupted' | 'unreplicated' | 'lost' | 'rolled back';

export interface ReplicaSet {
  readonly url: string;
  /** Changes of the primary so far. */
  readonly changes: number;
  /** Writes that were sent again by the driver and answered with what was kept of the first time. */
  readonly kept: number;
  /** What was kept of a write goes with the primary, as if another driver asked for it: nobody knows it again. */
  forgets: boolean;
  /** Asked for each write that reaches a primary; null: it is simply done. */
  fateOf: (command: string, nth: number) => Fate | null;
  /** The primary goes without any write. */
  stepDown(): void;
}

const HELLOS = new Set(['hello', 'ismaster', 'isMaster']);
const WRITES = new Set(['insert', 'update', 'delete', 'findAndModify']);
/** Between two primaries there is none for so long; a real election takes some seconds. */
const ELECTION_MS = 100;
const SET = 'play';
const RETRYABLE = 'RetryableWriteError';

/** Codes of the server, with their names. */
const NOT_PRIMARY = { code: 10107, codeName: 'NotWritablePrimary', errmsg: 'not primary' };
const INTERRUPTED = {
  code: 11602,
  codeName: 'InterruptedDueToReplStateChange',
  errmsg: 'operation was interrupted',
};
const STEPPED_DOWN = { code: 189, codeName: 'PrimarySteppedDown', errmsg: 'primary stepped down' };

interface Member {
  readonly server: Server;
  readonly host: string;
  readonly sockets: Set<Socket>;
  /** Refuses connections: it was killed, and is not back yet. */
  dead: boolean;
}

export async function startReplicaSet(target: string): Promise<ReplicaSet> {
  const members: Member[] = [];
  const processId = new BSON.ObjectId();
  let term = 1;
  let version = 1;
  let primary: Member | null = null;
  let asked = 0;
  const watchers = new Set<() => void>();
  const keptAnswers = new Map<string, Promise<Document>>();
  const topologyVersion = () => ({ processId, counter: BSON.Long.fromNumber(version) });
  const changed = (): void => {
    version += 1;
    for (const wake of watchers) wake();
  };

  const set: { -readonly [K in keyof ReplicaSet]: ReplicaSet[K] } = {
    url: '',
    changes: 0,
    kept: 0,
    forgets: false,
    fateOf: () => null,
    stepDown: () => leave(primary, false),
  };

  function leave(member: Member | null, killed: boolean): void {
    if (member === null || member !== primary) return;
    primary = null;
    set.changes += 1;
    member.dead = killed;
    changed();
    if (set.forgets) keptAnswers.clear();
    if (killed) for (const socket of member.sockets) socket.destroy();
    void sleep(ELECTION_MS, undefined, { ref: false }).then(() => {
      term += 1;
      primary = members.find((other) => other !== member) ?? null;
      member.dead = false;
      changed();
    });
  }

  const helloOf = (member: Member): Document => ({
    helloOk: true,
    isWritablePrimary: member === primary,
    ismaster: member === primary,
    secondary: member !== primary,
    setName: SET,
    setVersion: 1,
    hosts: members.map(({ host }) => host),
    me: member.host,
    ...(primary === null ? {} : { primary: primary.host }),
    ...(member === primary ? { electionId: new BSON.ObjectId(String(term).padStart(24, '0')) } : {}),
    topologyVersion: topologyVersion(),
    maxBsonObjectSize: 16_777_216,
    maxMessageSizeBytes: 48_000_000,
    maxWriteBatchSize: 100_000,
    localTime: new Date(),
    logicalSessionTimeoutMinutes: 30,
    minWireVersion: 0,
    maxWireVersion: 21,
    ok: 1,
  });

  /** A monitor is answered when something is new, or nothing was for a while, for as long as it is there. */
  async function tell(member: Member, message: Message, client: Socket): Promise<void> {
    const { topologyVersion: seen, maxAwaitTimeMS = 0 } = message.body as {
      topologyVersion?: { counter: BSON.Long };
      maxAwaitTimeMS?: unknown;
    };
    let known = seen?.counter.toNumber();
    do {
      if (known === version) await news(Number(maxAwaitTimeMS));
      known = version;
      if (!client.destroyed) client.write(answerTo(message, helloOf(member), message.listens));
    } while (message.listens && !client.destroyed);
  }

  const news = (longest_ms: number): Promise<void> =>
    new Promise((resolve) => {
      const wake = (): void => {
        watchers.delete(wake);
        clearTimeout(timer);
        resolve();
      };
      const timer = setTimeout(wake, longest_ms).unref();
      watchers.add(wake);
    });

  async function write(member: Member, message: Message, ask: Ask): Promise<Document | 'nothing'> {
    const key = keyOf(message);
    const before = key === null ? undefined : keptAnswers.get(key);
    if (before !== undefined) {
      set.kept += 1;
      return before;
    }
    asked += 1;
    const fate = set.fateOf(message.command, asked);
    const isDone = fate === null || fate === 'unreplicated' || fate === 'lost';
    const answer = isDone ? ask(message) : null;
    if (answer !== null && key !== null) keptAnswers.set(key, answer);
    const done = await answer;
    if (fate !== null) leave(member, fate === 'lost' || fate === 'rolled back');
    if (fate === 'lost' || fate === 'rolled back') return 'nothing';
    if (fate === 'refused') return refusal(NOT_PRIMARY, key);
    if (fate === 'interrupted') return refusal(INTERRUPTED, key);
    if (done === null) throw new Error('a write that was done has no answer');
    if (fate === null) return done;
    const { codeName, ...error } = STEPPED_DOWN;
    return { ...done, writeConcernError: { ...error, codeName }, ...labels(key) };
  }

  const labels = (key: string | null): Document => (key === null ? {} : { errorLabels: [RETRYABLE] });
  const refusal = (error: Document, key: string | null): Document => ({
    ok: 0,
    ...error,
    ...labels(key),
    topologyVersion: topologyVersion(),
  });

  async function answerOf(member: Member, message: Message, ask: Ask): Promise<Document | 'nothing'> {
    const { command } = message;
    if (command === 'endSessions') return { ok: 1 };
    if (member !== primary) return refusal(NOT_PRIMARY, keyOf(message));
    return WRITES.has(command) ? write(member, message, ask) : ask(message);
  }

  function serve(member: Member, client: Socket): void {
    if (member.dead) {
      client.destroy();
      return;
    }
    const { hostname, port } = new URL(target);
    const upstream = connect(Number(port), hostname);
    member.sockets.add(client);
    const waiting: ((answer: Document) => void)[] = [];
    const ask: Ask = (message) =>
      new Promise((resolve) => {
        waiting.push(resolve);
        upstream.write(rewritten(message, withoutSession));
      });
    upstream.on(
      'data',
      readMessages(({ body }) => waiting.shift()?.(body)),
    );
    client.on(
      'data',
      readMessages((message) => {
        if (HELLOS.has(message.command)) void tell(member, message, client);
        else
          void answerOf(member, message, ask).then((answer) => {
            if (answer !== 'nothing' && !client.destroyed) client.write(answerTo(message, answer));
          });
      }),
    );
    client.on('error', () => undefined).on('close', () => member.sockets.delete(client) && upstream.end());
    upstream.on('error', () => undefined).on('close', () => client.destroy());
  }

  for (let n = 0; n < 2; n++) members.push(await listening(serve));
  primary = members[0] ?? null;
  onTestFinished(() => {
    for (const { server, sockets } of members) {
      for (const socket of sockets) socket.destroy();
      server.close();
    }
  });
  set.url = `mongodb://${members.map(({ host }) => host).join(',')}/?replicaSet=${SET}`;
  return set;
}

type Ask = (message: Message) => Promise<Document>;

async function listening(serve: (member: Member, client: Socket) => void): Promise<Member> {
  const server = createServer((client) => serve(member, client));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  const member: Member = { server, host, sockets: new Set(), dead: false };
  return member;
}

const OF_SESSIONS = new Set(['lsid', 'txnNumber', '$clusterTime']);
const withoutSession = (body: Document): Document =>
  Object.fromEntries(Object.entries(body).filter(([field]) => !OF_SESSIONS.has(field)));

/** Of a write that the driver may send again; null where it may not. */
function keyOf({ body }: Message): string | null {
  const { lsid, txnNumber } = body as { lsid?: { id: BSON.Binary }; txnNumber?: BSON.Long };
  return lsid === undefined || txnNumber === undefined
    ? null
    : `${lsid.id.toString('hex')} ${txnNumber.toString()}`;
}
