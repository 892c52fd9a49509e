/**
 * The client of the facility's REST API (a Bioloop): one request, with everything that can go wrong on the way.
 *
 * | what happens                                 | what it does                                                       |
 * | -------------------------------------------- | ------------------------------------------------------------------ |
 * | no connection, dropped, too late, 502        | asks again (delays.ts); a request that creates is looked up before |
 * | 429, 503                                     | asks again; `Retry-After` beats the delay                          |
 * | 500, 504                                     | E_API_FAILED at once: it may have had its effect                   |
 * | 401, 403 / 404 / 409 / other 4xx             | E_API_REFUSED / _NOT_FOUND / _CONFLICT / _REQUEST                  |
 * | HTML, no JSON, JSON of another shape         | E_API_ANSWER with URL and content type, or the path in the answer  |
 */
import { Agent as HttpAgent } from 'node:http';
import { Agent as HttpsAgent } from 'node:https';
import { setTimeout as sleep } from 'node:timers/promises';
import got, { type Got, RequestError, type Response, TimeoutError } from 'got';
import type { z } from 'zod';
import type { Config } from '../../config/index.ts';
import { isLongshoreError, LongshoreError } from '../errors.ts';
import type { Logger } from '../log.ts';
import { delaySeconds, MAX_RETRIES, RETRY_STATUSES, retryAfterSeconds } from './delays.ts';
import { type Query, resolveUrl } from './encoding.ts';
import {
  type Answered,
  type Asked,
  isHtml,
  notJson,
  placeOf,
  refusalOf,
  unreachable,
  wrongShape,
} from './failure.ts';

/** One call of an endpoint. */
export interface ApiRequest<T> {
  readonly method: 'GET' | 'POST' | 'PATCH' | 'PUT' | 'DELETE';
  /** As the contract names it, for errors: `GET datasets/:id`. */
  readonly endpoint: string;
  /** Relative to the base URL, without a leading slash. */
  readonly path: string;
  readonly query?: Query;
  /** Sent as JSON. */
  readonly json?: unknown;
  /** Sent as multipart/form-data. */
  readonly form?: () => Promise<FormData>;
  /** What the answer must look like; null: whatever it is, it is not read. */
  readonly answer: z.ZodType<T> | null;
  /** Running twice is not the same as running once: after an outcome that nobody knows it is looked up, or given up. */
  readonly once?: boolean;
  /** Tells whether the thing is there, with what its request would have answered. Asks without retries of its own. */
  readonly lookUp?: () => Promise<{ found: T } | null>;
  /** Where a conflict that follows such an outcome says as much. */
  readonly conflictMeans?: { readonly found: T };
  /** An earlier process may have sent it: look it up first. */
  readonly doubtful?: boolean;
  /** Retries at most; default 9. */
  readonly retries?: number;
  readonly signal?: AbortSignal;
}

export interface ApiClient {
  /** @throws E_API_UNAVAILABLE, E_API_FAILED, E_API_REFUSED, E_API_NOT_FOUND, E_API_CONFLICT, E_API_REQUEST, E_API_ANSWER */
  readonly request: <T>(request: ApiRequest<T>) => Promise<T>;
  /** GET, once and without its answer being read into memory; the errors are those of `request`. */
  readonly stream: (request: StreamRequest) => Promise<{ asked: Asked; chunks: AsyncIterable<Buffer> }>;
  /** Closes the connections that are kept. */
  close(): void;
}

export interface StreamRequest extends Pick<ApiRequest<unknown>, 'endpoint' | 'path' | 'query' | 'signal'> {
  /** Of the read timeout, where the server has to look for long. Default 1. */
  readonly read_timeout_factor?: number;
}

export interface ClientOptions {
  /** See `resolveUrl`: a base with a path needs its slash at the end. */
  base_url: string;
  auth_token: string;
  /** Seconds. */
  conn_timeout: number;
  /** Seconds without a byte of the answer. */
  read_timeout: number;
  /** Of every delay before a retry; for tests and drills. Default 1. */
  delay_scale?: number;
  /** Default 9. */
  retries?: number;
  /** Waits before a retry; default: by the clock. */
  sleep?: (seconds: number, signal: AbortSignal | undefined) => Promise<unknown>;
  log?: Logger;
}

/** @throws E_CONFIG that names the environment variable which is missing */
export function apiClientOf(config: Config, options: Partial<ClientOptions> = {}): ApiClient {
  const { base_url, auth_token, conn_timeout, read_timeout } = config.api;
  const missing = [
    ...(base_url === null ? ['api.base_url: missing; set API_BASE_URL'] : []),
    ...(auth_token === null ? ['api.auth_token: missing; set APP_API_TOKEN'] : []),
  ];
  if (base_url === null || auth_token === null)
    throw new LongshoreError('E_CONFIG', `the REST API is not configured: ${missing.join('; ')}`, {
      fields: { problems: missing },
    });
  return createApiClient({ base_url, auth_token, conn_timeout, read_timeout, ...options });
}

export function createApiClient(options: ClientOptions): ApiClient {
  const agents = { http: new HttpAgent({ keepAlive: true }), https: new HttpsAgent({ keepAlive: true }) };
  const connect = options.conn_timeout * 1000;
  const read = options.read_timeout * 1000;
  const http = got.extend({
    agent: agents,
    timeout: { lookup: connect, connect, secureConnect: connect, socket: read, response: read },
    headers: { authorization: `Bearer ${options.auth_token}`, accept: 'application/json' },
    retry: { limit: 0 }, // By `request` below: what must not run twice has to be looked up in between.
    throwHttpErrors: false,
    followRedirect: false, // A redirect would turn a POST into a GET, or carry the token elsewhere.
    responseType: 'text',
  });

  /** Nothing of got's errors is kept as a cause: they hold the headers, and so the token. */
  async function attempt<T>(request: ApiRequest<T>): Promise<T> {
    const url = resolveUrl(options.base_url, request.path, request.query);
    const asked: Asked = { endpoint: request.endpoint, url: placeOf(url) };
    const answered = await send(http, url, request).catch((error: unknown) => {
      if (request.signal?.aborted === true) throw request.signal.reason;
      throw failureOf(asked, error);
    });
    const refusal = refusalOf(asked, answered);
    if (refusal !== null) throw withPatience(refusal, answered.retryAfter);
    return readAnswer(request, asked, answered);
  }

  async function request<T>(asked: ApiRequest<T>): Promise<T> {
    const retries = asked.retries ?? options.retries ?? MAX_RETRIES;
    let doubtful = asked.doubtful === true;
    const blind = asked.lookUp === undefined && asked.conflictMeans === undefined;
    const find = async (): Promise<{ found: T } | null> =>
      doubtful ? ((await asked.lookUp?.()) ?? null) : null;
    for (let retry = 1; ; retry++) {
      try {
        const found = await find();
        return found === null ? await attempt(asked) : found.found;
      } catch (error) {
        if (!isLongshoreError(error)) throw error;
        if (error.code === 'E_API_CONFLICT') {
          // The first one was committed after all, while it was looked for.
          const found = doubtful ? (asked.conflictMeans ?? (await find())) : null;
          if (found !== null) return found.found;
        }
        if (error.code !== 'E_API_UNAVAILABLE') throw error;
        doubtful ||= asked.once === true && error.fields.uncertain === true;
        if (retry > retries || (doubtful && blind)) throw error;
        const seconds = patience.get(error) ?? delaySeconds(retry) * (options.delay_scale ?? 1);
        options.log?.warn(
          { endpoint: asked.endpoint, retry, seconds, reason: error.fields.reason ?? error.fields.status },
          'the API is asked again',
        );
        await (options.sleep ?? byTheClock)(seconds, asked.signal);
      }
    }
  }

  async function stream(request: StreamRequest): Promise<{ asked: Asked; chunks: AsyncIterable<Buffer> }> {
    const url = resolveUrl(options.base_url, request.path, request.query);
    const asked: Asked = { endpoint: request.endpoint, url: placeOf(url) };
    const patience = read * (request.read_timeout_factor ?? 1);
    const incoming = http.stream(url, {
      timeout: { lookup: connect, connect, secureConnect: connect, socket: patience, response: patience },
      ...(request.signal === undefined ? {} : { signal: request.signal }),
    });
    const response = await new Promise<Response>((resolve, reject) => {
      incoming.once('response', resolve);
      incoming.once('error', (error) => reject(failureOf(asked, error)));
    });
    const contentType = response.headers['content-type'] ?? '';
    const ok = response.statusCode >= 200 && response.statusCode < 300;
    const chunks = readStream(incoming, asked);
    if (ok && contentType.includes('json')) return { asked, chunks };
    let body = '';
    for await (const chunk of chunks) body += body.length < 10_000 ? chunk.toString() : '';
    const answered = { status: response.statusCode, contentType, body };
    throw refusalOf(asked, answered) ?? notJson(asked, answered);
  }

  return {
    request,
    stream,
    close() {
      agents.http.destroy();
      agents.https.destroy();
    },
  };
}

const byTheClock = (seconds: number, signal: AbortSignal | undefined): Promise<unknown> =>
  sleep(seconds * 1000, undefined, signal === undefined ? {} : { signal });

async function* readStream(incoming: AsyncIterable<unknown>, asked: Asked): AsyncGenerator<Buffer> {
  try {
    for await (const chunk of incoming) yield chunk as Buffer;
  } catch (error) {
    throw failureOf(asked, error);
  }
}

type Received = Answered & { retryAfter: string | undefined };

async function send<T>(http: Got, url: URL, request: ApiRequest<T>): Promise<Received> {
  const response = await http(url, {
    method: request.method,
    ...(request.json === undefined
      ? {}
      : { body: JSON.stringify(request.json), headers: { 'content-type': 'application/json' } }),
    ...(request.form === undefined ? {} : { body: await request.form() }),
    ...(request.signal === undefined ? {} : { signal: request.signal }),
  });
  return {
    status: response.statusCode,
    contentType: response.headers['content-type'] ?? '',
    body: response.body,
    retryAfter: response.headers['retry-after'],
  };
}

function readAnswer<T>(request: ApiRequest<T>, asked: Asked, answered: Answered): T {
  // A login page may answer 200 to everything.
  if (isHtml(answered)) throw notJson(asked, answered);
  if (request.answer === null) return undefined as T;
  let value: unknown;
  try {
    value = JSON.parse(answered.body);
  } catch {
    throw notJson(asked, answered);
  }
  const read = request.answer.safeParse(value);
  if (read.success) return read.data;
  throw wrongShape(asked, read.error.issues);
}

/** Before a connection was made nothing can have happened; after it nobody knows. */
const NOTHING_SENT = new Set(['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'EHOSTUNREACH', 'ENETUNREACH']);
const BEFORE_SENDING = new Set(['lookup', 'connect', 'secureConnect']);

function failureOf(asked: Asked, error: unknown): LongshoreError {
  if (error instanceof TimeoutError)
    return unreachable(asked, error.message, error.code, !BEFORE_SENDING.has(error.event));
  if (error instanceof RequestError)
    return unreachable(asked, error.message, error.code, !NOTHING_SENT.has(error.code));
  // Reading what is to be sent has failed: a report file that is gone, a bug.
  throw error;
}

/** Kept beside the error and out of its fields: it is of no use to anybody but the loop above. */
const patience = new WeakMap<LongshoreError, number>();

function withPatience(error: LongshoreError, header: string | undefined): LongshoreError {
  const seconds = RETRY_STATUSES.has(Number(error.fields.status)) ? retryAfterSeconds(header) : null;
  if (seconds !== null) patience.set(error, seconds);
  return error;
}
