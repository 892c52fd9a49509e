import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import type { Document } from 'mongodb';
import { onTestFinished } from 'vitest';
import { readMessages, splitMessages } from './wire.ts';

/** What a request asks for, as its first field says: `find`, `update`, … */
export type Command = string;

/** What happens to a request: passed on, or passed on while its answer is lost, and the connection with it. */
export type Fate = 'pass' | 'lose the answer';

/** Stands between a client and a MongoDB server. Gone when the test ends. */
export interface WireProxy {
  readonly url: string;
  /** Commands that write and were carried out, in order. */
  readonly writes: Command[];
  /** Asked for each request that writes. */
  decide: (command: Command, nth: number) => Fate;
  /** Before the n-th request that writes goes to the server. It waits for a promise. */
  onAsked: (nth: number, body: Document) => unknown;
  /** After the answer of the n-th write has come from the server, and before the client has it. It waits for a promise. */
  onWritten: (nth: number) => unknown;
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
    const fromClient = readMessages(({ command, body, bytes }) => {
      const isWrite = WRITES.has(command);
      if (isWrite) asked += 1;
      waiting.push({ command, nth: asked, fate: isWrite ? proxy.decide(command, asked) : 'pass' });
      afterwards(isWrite && proxy.onAsked(asked, body), () => upstream.write(bytes));
    });
    const fromServer = splitMessages((answer) => {
      const of = waiting.shift();
      const isWritten = of !== undefined && WRITES.has(of.command);
      if (isWritten) proxy.writes.push(of.command);
      afterwards(isWritten && proxy.onWritten(of.nth), () => {
        if (of?.fate === 'lose the answer') client.destroy();
        else if (!isWritten || proxy.delay_ms === 0) client.write(answer);
        else setTimeout(() => client.write(answer), proxy.delay_ms);
      });
    });
    client.on('data', fromClient);
    upstream.on('data', fromServer);
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
    onAsked: () => undefined,
    onWritten: () => undefined,
    delay_ms: 0,
  };
  return proxy;
}

/** At once where nothing is waited for: a connection has one question at a time, but its first ones come together. */
function afterwards(held: unknown, goOn: () => void): void {
  if (held instanceof Promise) void held.finally(goOn);
  else goOn();
}
