import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { BSON } from 'mongodb';
import { onTestFinished } from 'vitest';

/** What a request asks for, as its first field says: `find`, `update`, … */
export type Command = string;

/**
 * What happens to a request: passed on, passed on while its answer is lost, and the connection with it, or refused as by
 * a server that is no primary any more.
 */
export type Fate = 'pass' | 'lose the answer' | 'refuse as a secondary';

/** Stands between a client and a MongoDB server. Gone when the test ends. */
export interface WireProxy {
  readonly url: string;
  /** Commands that write and were carried out, in order. */
  readonly writes: Command[];
  /** Asked for each request that writes. */
  decide: (command: Command, nth: number) => Fate;
  /** After the answer of the n-th write has come from the server, and before the client has it. */
  onWritten: (nth: number) => void;
  /** Answers to writes come so much later. */
  delay_ms: number;
}

const WRITES = new Set(['insert', 'update', 'delete', 'findAndModify']);

export async function startWireProxy(target: string): Promise<WireProxy> {
  const { hostname, port } = new URL(target);
  const sockets = new Set<Socket>();
  let asked = 0;
  const server = createServer((client) => {
    const upstream = connect(Number(port), hostname);
    const waiting: { command: Command; fate: Fate; nth: number }[] = [];
    let requests = Buffer.alloc(0);
    let answers = Buffer.alloc(0);
    client.on('data', (bytes) => {
      requests = Buffer.concat([requests, bytes]);
      requests = eachMessage(requests, (message) => {
        const command = commandOf(message);
        const isWrite = WRITES.has(command);
        if (isWrite) asked += 1;
        const fate = isWrite ? proxy.decide(command, asked) : 'pass';
        if (fate === 'refuse as a secondary') {
          client.write(refusalOf(message));
          return;
        }
        waiting.push({ command, nth: asked, fate });
        upstream.write(message);
      });
    });
    upstream.on('data', (bytes) => {
      answers = Buffer.concat([answers, bytes]);
      answers = eachMessage(answers, (message) => {
        const of = waiting.shift();
        if (of !== undefined && WRITES.has(of.command)) {
          proxy.writes.push(of.command);
          proxy.onWritten(of.nth);
        }
        if (of?.fate === 'lose the answer') client.destroy();
        else if (of === undefined || !WRITES.has(of.command)) client.write(message);
        else if (proxy.delay_ms === 0) client.write(message);
        else setTimeout(() => client.write(message), proxy.delay_ms);
      });
    });
    for (const [one, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      sockets.add(one);
      one.on('error', () => undefined);
      one.on('close', () => other.destroy());
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const proxy: WireProxy = {
    url: `mongodb://127.0.0.1:${(server.address() as AddressInfo).port}/?directConnection=true`,
    writes: [],
    decide: () => 'pass',
    onWritten: () => undefined,
    delay_ms: 0,
  };
  return proxy;
}

/** Calls for every whole message; answers the rest. */
function eachMessage(bytes: Buffer<ArrayBuffer>, call: (message: Buffer) => void): Buffer<ArrayBuffer> {
  let rest = bytes;
  while (rest.length >= 4 && rest.length >= rest.readUInt32LE(0)) {
    const length = rest.readUInt32LE(0);
    call(rest.subarray(0, length));
    rest = rest.subarray(length);
  }
  return rest;
}

const OP_MSG = 2013;

/** As a primary that has stepped down answers: error code 10107 of the server. */
function refusalOf(request: Buffer): Buffer {
  const body = BSON.serialize({
    ok: 0,
    errmsg: 'not primary',
    code: 10107,
    codeName: 'NotWritablePrimary',
    topologyVersion: { processId: new BSON.ObjectId(), counter: BSON.Long.fromNumber(1) },
  });
  const head = Buffer.alloc(21);
  head.writeUInt32LE(head.length + body.length, 0);
  request.copy(head, 8, 4, 8); // Answers that request.
  head.writeUInt32LE(OP_MSG, 12);
  return Buffer.concat([head, body]);
}

/** Name of the first field of the body, which a driver sends as the first section. */
function commandOf(message: Buffer): Command {
  if (message.readUInt32LE(12) !== OP_MSG || message[20] !== 0) return '';
  const start = 26;
  return message.toString('utf8', start, message.indexOf(0, start));
}
