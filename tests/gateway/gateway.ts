import { generateKeyPairSync } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { onTestFinished } from 'vitest';
import type { Config } from '../../config/index.ts';
import type { App } from '../../workers/gateway/app.ts';
import { readPrivateKey } from '../../workers/gateway/keys.ts';
import { createGateway, listen } from '../../workers/gateway/server.ts';
import { issueToken } from '../../workers/gateway/tokens.ts';
import { createLogger } from '../../workers/log.ts';
import { openStore, type Store } from '../../workers/store.ts';
import { createEngine, type Engine } from '../../workers/workflows/engine.ts';
import { makePlace, type Place } from '../support/place.ts';

export interface Answer<T> {
  status: number;
  body: T;
  headers: Headers;
}

export interface Ask {
  method?: string;
  /** Sent as JSON. */
  json?: unknown;
  /** Null: none at all. Default: a good one. */
  authorization?: string | null;
  headers?: Record<string, string>;
  /** Sent as it is. */
  body?: string;
}

/** Over real HTTP. */
export interface Client {
  readonly base: string;
  <T = unknown>(path: string, ask?: Ask): Promise<Answer<T>>;
}

export interface TestGateway {
  readonly place: Place;
  readonly store: Store;
  readonly engine: Engine;
  readonly app: App;
  readonly ask: Client;
}

export interface Given {
  place?: Place;
  /** To put something between the gateway and its records. */
  wrap?: (store: Store) => Store;
  overrides?: Record<string, unknown>;
  stuck_seconds?: number;
  /** Those that the place has, instead of those of the test file. */
  keys?: 'as they are';
}

/** A gateway with real records and the suite's Redis, listening on a free port; gone when the test ends. */
export async function makeGateway({
  overrides,
  wrap = (store) => store,
  stuck_seconds = 20,
  ...given
}: Given = {}): Promise<TestGateway> {
  const place = given.place ?? (await makePlace(overrides));
  const { config } = place;
  if (given.keys === undefined) writeKeys(config);
  const log = createLogger('gateway', {}, { to: place.path('gateway.log'), level: 'debug' });
  const store = wrap(await openStore(config));
  const engine = await createEngine({ config, store, log, wait_seconds: 2 });
  const app = await createGateway({ config, store, engine, log, version: '0.0.0', stuck_seconds });
  const base = await listen(app, { host: '127.0.0.1', port: 0 });
  onTestFinished(async () => {
    await app.close();
    await engine.close();
    await store.close();
  });
  return { place, store, engine, app, ask: clientOf(base, await tokenOf(config)) };
}

/** One pair for all tests of a file: making it takes longer than most of them. */
const KEYS = generateKeyPairSync('rsa', {
  modulusLength: 2048,
  privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
  publicKeyEncoding: { type: 'spki', format: 'pem' },
});

export function writeKeys({ gateway: { jwt } }: Config): void {
  mkdirSync(dirname(jwt.private_key_file), { recursive: true });
  writeFileSync(jwt.private_key_file, KEYS.privateKey, { mode: 0o600 });
  writeFileSync(jwt.public_key_file, KEYS.publicKey);
}

export const tokenOf = (config: Config, subject = 'api'): Promise<string> =>
  issueToken(readPrivateKey(config), { issuer: config.gateway.jwt.issuer, subject });

export function clientOf(base: string, token: string): Client {
  const ask = async <T>(path: string, given: Ask = {}): Promise<Answer<T>> => {
    const authorization = given.authorization === undefined ? `Bearer ${token}` : given.authorization;
    const body = given.json === undefined ? given.body : JSON.stringify(given.json);
    const answer = await fetch(`${base}${path}`, {
      method: given.method ?? (body === undefined ? 'GET' : 'POST'),
      headers: {
        ...(authorization === null ? {} : { authorization }),
        ...(given.json === undefined ? {} : { 'content-type': 'application/json' }),
        ...given.headers,
      },
      ...(body === undefined ? {} : { body }),
    });
    const text = await answer.text();
    return { status: answer.status, headers: answer.headers, body: parsed(text) as T };
  };
  return Object.assign(ask, { base });
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return text;
  }
}

/** What a Bioloop API posts to start a workflow. */
export const bodyOf = (config: Config, more: Record<string, unknown> = {}) => ({
  name: 'integrated',
  description: 'lands',
  app_id: config.app_id,
  steps: [
    { name: 'await stability', task: 'drill', queue: `${config.app_id}.q`, priority: 4 },
    { name: 'inspect', task: 'drill', queue: `${config.app_id}.q`, kwargs: { a: 1 } },
  ],
  args: [7],
  ...more,
});
