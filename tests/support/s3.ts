import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { S3 } from '@aws-sdk/client-s3';
import type { Config } from '../../config/index.ts';
import type { Archive } from '../../workers/archive/contract.ts';
import { openArchive } from '../../workers/archive/index.ts';
import { type HttpProxy, type SeenRequest, startHttpProxy } from './http-proxy.ts';
import { makePlace, type Place } from './place.ts';

/** A real S3 server: s3rver as a process of its own, or the one that S3_TEST_URL names. */
export interface S3Server {
  readonly url: string;
  readonly bucket: string;
  readonly access_key_id: string;
  readonly secret_access_key: string;
  /** Whether it is s3rver, which keeps to less than the protocol says. */
  readonly own: boolean;
  readonly stop: () => Promise<void>;
}

const root = join(import.meta.dirname, '../..');
const BUCKET = 'bundles';

/** One for a test file; stop it in `afterAll`. */
export async function startS3Server(): Promise<S3Server> {
  const {
    S3_TEST_URL: url = '',
    S3_TEST_BUCKET: bucket = BUCKET,
    S3_TEST_ACCESS_KEY: access_key_id = 'S3RVER',
    S3_TEST_SECRET: secret_access_key = 'S3RVER',
  } = process.env;
  const keys = { bucket, access_key_id, secret_access_key };
  if (url !== '') return { ...keys, url, own: false, stop: async () => undefined };
  mkdirSync(join(root, 'var/test'), { recursive: true });
  const folder = mkdtempSync(join(root, 'var/test/s3-'));
  const args = [join(root, 'tests/fixtures/s3-server.ts'), folder, bucket];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = once(child, 'exit');
  const [line] = (await Promise.race([
    once(createInterface(child.stdout), 'line'),
    ended.then(() => ['s3rver ended before it listened']),
  ])) as [string];
  if (!/^\d+$/.test(line)) throw new Error(line);
  return {
    ...keys,
    url: `http://127.0.0.1:${line}`,
    own: true,
    stop: async () => {
      child.kill('SIGTERM');
      await ended;
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

export type S3BackEnd = Extract<Config['archive']['backends'][string], { kind: 's3' }>;

export const MB = 1024 ** 2;
/** The least that S3 takes: a few megabytes are an upload of several parts. */
export const PART = 5 * MB;

export const backEndOf = (server: S3Server, proxy: HttpProxy, more: Partial<S3BackEnd> = {}): S3BackEnd => ({
  kind: 's3',
  bucket: server.bucket,
  endpoint: proxy.url,
  region: 'us-east-1',
  prefix: 'longshore/',
  access_key_id: server.access_key_id,
  secret_access_key: server.secret_access_key,
  storage_class: null,
  force_path_style: true,
  part_bytes: PART,
  concurrency: 3,
  stall_seconds: 30,
  ...more,
});

/** A place whose archive `s3` is reached through a proxy of its own. */
export interface S3Place {
  readonly place: Place;
  readonly proxy: HttpProxy;
  readonly archive: Archive;
  /** Archive path of that name, and the key in the bucket. */
  readonly path: (name: string) => string;
  readonly key: (name: string) => string;
  /** Past the proxy. */
  readonly direct: S3;
  /** Numbers of the parts that were sent since the last call, sorted. */
  readonly partsSent: () => number[];
  /** Lines of the ledgers of this place: heads and parts. */
  readonly ledgers: () => Record<string, unknown>[][];
  /** Ids of the multipart uploads that the bucket has for this name. */
  readonly unfinished: (name: string) => Promise<string[]>;
}

export async function makeS3Place(server: S3Server, more: Partial<S3BackEnd> = {}): Promise<S3Place> {
  const proxy = await startHttpProxy(server.url);
  const place = await makePlace({ archive: { backends: { s3: backEndOf(server, proxy, more) } } });
  const { bucket: Bucket, access_key_id: accessKeyId, secret_access_key: secretAccessKey } = server;
  const direct = new S3({
    endpoint: server.url,
    region: 'us-east-1',
    forcePathStyle: true,
    credentials: { accessKeyId, secretAccessKey },
  });
  const path = (name: string): string =>
    place.config.paths.RAW_DATA.archive.replace('{year}', '2026').concat(`/${name}`);
  const key = (name: string): string => `longshore${path(name)}`;
  let counted = 0;
  const folder = join(place.config.state_dir, 'uploads');
  return {
    place,
    proxy,
    archive: openArchive(place.config, 's3'),
    path,
    key,
    direct,
    partsSent: () => {
      const fresh = proxy.seen.slice(counted).map(partOf);
      counted = proxy.seen.length;
      return fresh.filter((part) => part !== null).sort((one, other) => one - other);
    },
    ledgers: () =>
      (existsSync(folder) ? readdirSync(folder) : [])
        .filter((name) => name.endsWith('.ndjson')) // Not the one that is being made.
        .map((name) => readFileSync(join(folder, name), 'utf8').split('\n').slice(0, -1))
        .map((lines) => lines.map((line) => JSON.parse(line) as Record<string, unknown>)),
    unfinished: async (name) => {
      const { Uploads = [] } = await direct.listMultipartUploads({ Bucket, Prefix: key(name) });
      return Uploads.map(({ UploadId = '' }) => UploadId);
    },
  };
}

/** The number of the part that a request sends; null of any other request. */
export function partOf({ method, url }: SeenRequest): number | null {
  const number = new URL(url, 'http://any').searchParams.get('partNumber');
  return method === 'PUT' && number !== null ? Number(number) : null;
}
