/** A server that answers every request with 200 and tells what it was. */
import { createServer, type IncomingMessage, type Server } from 'node:http';

/** A request as it came in. */
export interface SeenRequest {
  /** `POST /path?query HTTP/1.1` */
  readonly line: string;
  /** As they were sent, in their order; one that was sent twice stands there twice. */
  readonly headers: readonly (readonly [name: string, value: string])[];
  /** Of the body; what lies behind the first MiB is counted and not kept. */
  readonly body: string;
  readonly bytes: number;
}

const MAX_KEPT = 1024 ** 2;

/** @param tell called once for each request, when its body has ended; requests that break off are not told */
export function createEchoServer(tell: (request: SeenRequest) => void): Server {
  return createServer((request, response) => {
    readBody(request).then(
      ({ body, bytes }) => {
        tell({
          line: `${request.method} ${request.url} HTTP/${request.httpVersion}`,
          headers: pairsOf(request.rawHeaders),
          body,
          bytes,
        });
        response.writeHead(200, { 'content-type': 'text/plain' }).end('OK');
      },
      () => response.destroy(),
    );
  });
}

async function readBody(request: IncomingMessage): Promise<{ body: string; bytes: number }> {
  const kept: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    const room = MAX_KEPT - bytes;
    if (room > 0) kept.push(chunk.subarray(0, room));
    bytes += chunk.length;
  }
  return { body: Buffer.concat(kept).toString(), bytes };
}

const pairsOf = (raw: readonly string[]): [string, string][] =>
  raw.flatMap((name, at): [string, string][] => (at % 2 === 0 ? [[name, raw[at + 1] ?? '']] : []));
