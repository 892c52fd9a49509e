import {
  createServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  request,
  type ServerResponse,
} from 'node:http';
import type { AddressInfo } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { onTestFinished } from 'vitest';

export interface SeenRequest {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingHttpHeaders;
}

export interface Fault {
  readonly when: (request: SeenRequest) => boolean;
  /** So many requests meet it; default: every one. */
  times?: number;
  /**
   * `drop` and `stall`: of the answer, after so many bytes of its body. `hold`: the request is never passed on.
   * `corrupt`: a byte of the request's body is flipped. `lose`: the server has done it, and the answer never comes.
   * `without`: that header is not passed on. `page`: that text is answered with status 200, as a proxy does that asks for a
   * login. `late_ms`: so late comes the first byte of the answer, and the others a tenth of it at a time, `every_ms`. Or an
   * answer of one's own.
   */
  readonly how:
    | { readonly drop: number }
    | { readonly stall: number }
    | { readonly without: string }
    | { readonly status: number; readonly code: string }
    | { readonly page: string }
    | { readonly late_ms: number; readonly every_ms: number }
    | 'hold'
    | 'corrupt'
    | 'lose';
}

/** What stands between a client and a real server, and can go wrong. */
export interface HttpProxy {
  readonly url: string;
  /** In the order of their coming, those that met a fault too. */
  readonly seen: SeenRequest[];
  faults: Fault[];
  readonly takeAway: () => Promise<void>;
  readonly bringBack: () => Promise<void>;
}

/** Gone when the test ends. */
export async function startHttpProxy(target: string): Promise<HttpProxy> {
  const seen: SeenRequest[] = [];
  const server = createServer((from, to) => {
    const one = { method: from.method ?? '', url: from.url ?? '', headers: from.headers };
    seen.push(one);
    const fault = proxy.faults.find(({ when, times = Infinity }) => times > 0 && when(one));
    if (fault?.times !== undefined) fault.times -= 1;
    handle(from, to, fault?.how);
  });
  const handle = (from: IncomingMessage, to: ServerResponse, how: Fault['how'] | undefined): void => {
    if (how === 'hold') return;
    if (typeof how === 'object' && 'status' in how) {
      from.resume().on('end', () => {
        to.writeHead(how.status, { 'content-type': 'application/xml' });
        to.end(from.method === 'HEAD' ? '' : `<Error><Code>${how.code}</Code><Message>no</Message></Error>`);
      });
      return;
    }
    if (typeof how === 'object' && 'page' in how) {
      from.resume().on('end', () => {
        to.writeHead(200, { 'content-type': 'text/html', 'content-length': how.page.length });
        to.end(from.method === 'HEAD' ? '' : how.page);
      });
      return;
    }
    const { hostname, port } = new URL(target);
    const { method, url: path } = from;
    const without = typeof how === 'object' && 'without' in how ? how.without : null;
    const headers = from.rawHeaders.filter((_, at, all) => all[at - (at % 2)]?.toLowerCase() !== without);
    const onward = request({ hostname, port, method, path, headers, agent: false }, (answer) => {
      if (how === 'lose') return void answer.resume().on('end', () => to.destroy());
      if (typeof how === 'object' && 'late_ms' in how) return void trickle(answer, to, how);
      to.writeHead(answer.statusCode ?? 502, answer.rawHeaders);
      passOn(answer, to, typeof how === 'object' && !('page' in how) ? how : {});
    });
    onward.on('error', () => to.destroy());
    to.on('close', () => onward.destroy());
    let flipped = how !== 'corrupt';
    from.on('data', (chunk: Buffer) => {
      if (!flipped) chunk[0] = (chunk[0] ?? 0) ^ 1;
      flipped = true;
      if (!onward.write(chunk)) from.pause();
    });
    onward.on('drain', () => from.resume());
    from.on('end', () => onward.end());
  };
  const listen = (port: number): Promise<void> =>
    new Promise((resolve) => server.listen(port, '127.0.0.1', resolve));
  const close = (): Promise<void> =>
    new Promise((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    });
  await listen(0);
  const { port } = server.address() as AddressInfo;
  const proxy: HttpProxy = {
    url: `http://127.0.0.1:${port}`,
    seen,
    faults: [],
    takeAway: close,
    bringBack: () => listen(port),
  };
  onTestFinished(async () => {
    if (server.listening) await close();
  });
  return proxy;
}

async function trickle(
  answer: IncomingMessage,
  to: ServerResponse,
  { late_ms, every_ms }: { late_ms: number; every_ms: number },
): Promise<void> {
  const body = await buffer(answer);
  await sleep(late_ms);
  to.writeHead(answer.statusCode ?? 502, answer.rawHeaders);
  const piece = Math.max(1, Math.ceil(body.length / 10));
  for (let at = 0; at < body.length && !to.destroyed; at += piece) {
    to.write(body.subarray(at, at + piece));
    await sleep(every_ms);
  }
  to.end();
}

function passOn(
  answer: IncomingMessage,
  to: ServerResponse,
  how: { drop?: number; stall?: number; without?: string },
): void {
  let left = how.drop ?? how.stall ?? Infinity;
  answer.on('data', (chunk: Buffer) => {
    const piece = chunk.subarray(0, left);
    left -= piece.length;
    const ended = left === 0;
    if (!to.write(piece, () => ended && how.drop !== undefined && to.destroy())) answer.pause();
    if (!ended) return;
    answer.pause().removeAllListeners('data');
    to.removeAllListeners('drain');
  });
  to.on('drain', () => answer.resume());
  answer.on('end', () => to.end());
}
