/**
 * A double of the facility's API: a real HTTP server with a database in memory, that behaves as the real one with its
 * traps, and that can be made to fail.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { onTestFinished } from 'vitest';
import type { Behaviour, Call } from './bioloop-call.ts';
import { routes } from './bioloop-routes.ts';
import { BioloopStore, Refusal } from './bioloop-store.ts';

export type Fault =
  /** Answered without anything being done. */
  | { readonly kind: 'status'; readonly status: number; readonly headers?: Record<string, string> }
  /** A page of a proxy or of the user interface. */
  | { readonly kind: 'html'; readonly status?: number }
  /** The connection is dropped before anything is done… */
  | { readonly kind: 'drop' }
  /** …or after it was. */
  | { readonly kind: 'commit-then-drop' }
  /** Done, and answered by a proxy that gave up. */
  | { readonly kind: 'commit-then-status'; readonly status: number }
  /** After so much of its answer. */
  | { readonly kind: 'cut'; readonly share: number }
  /** Never answered; `commit`: done all the same. */
  | { readonly kind: 'silent'; readonly commit?: boolean }
  /** JSON of another shape. */
  | { readonly kind: 'answer'; readonly body: unknown };

export interface BioloopApi {
  /** Ends in a slash. */
  readonly url: string;
  readonly token: string;
  readonly store: BioloopStore;
  readonly behaviour: Behaviour;
  /** Everything that was asked, in order; refused or not. */
  readonly calls: Call[];
  /** Of these calls (`POST datasets/bulk`; ids as `:id`; a beginning is enough, '' means all) the next `times` ones; default for ever. */
  fail(calls: string, fault: Fault, times?: number): void;
  /** What was asked and answered without a fault, in order. */
  readonly exchanges: { readonly call: Call; readonly status: number; readonly body: unknown }[];
  /** Takes all faults back. */
  heal(): void;
  /** Of one kind, in order: `POST datasets/:id/states`. */
  called(calls: string): Call[];
  /** Connections that were opened. */
  connections(): number;
  /** Environment of Longshore processes that are to use it. */
  readonly env: Readonly<Record<string, string>>;
  stop(): Promise<void>;
}

const MOST_BYTES = 50 * 1024 ** 2;

/** Stopped when the test ends. `basePath`: the API stands below it (`/api/`). */
export async function startBioloopApi(options: { basePath?: string } = {}): Promise<BioloopApi> {
  const basePath = options.basePath ?? '/';
  const token = `secret-${crypto.randomUUID()}`;
  const store = new BioloopStore();
  const behaviour: Behaviour = { filesDelay: 20, workflowServer: true, served: new Map() };
  const table = routes(store, behaviour);
  const calls: Call[] = [];
  const exchanges: BioloopApi['exchanges'] = [];
  const faults: { calls: string; fault: Fault; times: number }[] = [];
  let connections = 0;

  const faultOf = (call: Call): Fault | null => {
    const found = faults.find((one) => one.times > 0 && nameOf(call).startsWith(one.calls));
    if (found === undefined) return null;
    found.times -= 1;
    return found.fault;
  };

  async function carryOut(call: Call): Promise<{ status: number; body: unknown; html?: boolean }> {
    if (call.headers.authorization !== `Bearer ${token}`)
      return { status: 401, body: { message: 'Authentication failed' } };
    for (const [method, pattern, answer] of table) {
      const match = pattern.exec(call.path);
      if (match === null || method !== call.method) continue;
      try {
        return { status: 200, body: await answer(call, match.slice(1)) };
      } catch (error) {
        if (error instanceof Refusal) return { status: error.status, body: error.body };
        return { status: 500, body: { message: 'An unexpected error occurred' } };
      }
    }
    return { status: 404, body: `<!DOCTYPE html><pre>Cannot ${call.method} /${call.path}</pre>`, html: true };
  }

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '/', 'http://double');
    const text = await bodyOf(request);
    const path = url.pathname.startsWith(basePath)
      ? url.pathname.slice(basePath.length)
      : `..${url.pathname}`;
    const headers = request.headers;
    const call: Call = {
      method: request.method ?? '',
      path,
      query: url.searchParams,
      headers,
      body: headers['content-type']?.includes('json') === true ? JSON.parse(text) : text,
      text,
    };
    calls.push(call);
    if (text.length > MOST_BYTES) return json(response, 413, { message: 'request entity too large' });
    const fault = faultOf(call);
    if (fault?.kind === 'status') return json(response, fault.status, { message: 'ill' }, fault.headers);
    if (fault?.kind === 'html') return html(response, fault.status ?? 200, '<!DOCTYPE html><h1>Sign in</h1>');
    if (fault?.kind === 'drop') return void request.socket.destroy();
    if (fault?.kind === 'answer') return json(response, 200, fault.body);
    if (fault?.kind === 'silent' && fault.commit !== true) return;
    const { status, body, html: page } = await carryOut(call);
    if (fault === null) exchanges.push({ call, status, body });
    if (fault?.kind === 'silent') return;
    if (fault?.kind === 'commit-then-drop') return void request.socket.destroy();
    if (fault?.kind === 'commit-then-status') return json(response, fault.status, { message: 'ill' });
    if (fault?.kind === 'cut') {
      const whole = JSON.stringify(body);
      response.writeHead(status, { 'content-type': 'application/json; charset=utf-8' });
      return void response.write(whole.slice(0, whole.length * fault.share), () => response.destroy());
    }
    if (page === true) return html(response, status, String(body));
    json(response, status, body);
  }

  const server = createServer((request, response) => {
    serve(request, response).catch((error: unknown) => {
      response.destroy(error as Error);
    });
  });
  server.on('connection', () => {
    connections += 1;
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}${basePath}`;
  const stop = (): Promise<void> =>
    new Promise((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    });
  onTestFinished(stop);
  return {
    url,
    token,
    store,
    behaviour,
    calls,
    exchanges,
    fail: (of, fault, times = Number.POSITIVE_INFINITY) => {
      faults.push({ calls: of, fault, times });
    },
    heal: () => {
      faults.length = 0;
    },
    called: (of) => calls.filter((call) => nameOf(call) === of),
    connections: () => connections,
    env: { API_BASE_URL: url, APP_API_TOKEN: token },
    stop,
  };
}

/** `POST datasets/:id/files`: numbers and UUIDs are ids. */
export const nameOf = ({ method, path }: Pick<Call, 'method' | 'path'>): string =>
  `${method} ${path.replace(/\/(\d+|[0-9a-f]{8}-[0-9a-f-]{27})(?=\/|$)/g, '/:id')}`;

async function bodyOf(request: IncomingMessage): Promise<string> {
  const parts: Buffer[] = [];
  for await (const part of request) parts.push(part as Buffer);
  return Buffer.concat(parts).toString();
}

function json(
  response: ServerResponse,
  status: number,
  body: unknown,
  headers: Record<string, string> = {},
): void {
  response.writeHead(status, { 'content-type': 'application/json; charset=utf-8', ...headers });
  response.end(JSON.stringify(body));
}

function html(response: ServerResponse, status: number, page: string): void {
  response.writeHead(status, { 'content-type': 'text/html; charset=utf-8' });
  response.end(page);
}
