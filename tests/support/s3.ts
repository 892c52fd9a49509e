import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

/** A real S3 server: s3rver as a process of its own, or the one that S3_TEST_URL names. */
export interface S3Server {
  readonly url: string;
  readonly bucket: string;
  readonly access_key_id: string;
  readonly secret_access_key: string;
  /** Whether it is s3rver, which keeps to less than the protocol says. */
  readonly own: boolean;
  stop(): Promise<void>;
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
