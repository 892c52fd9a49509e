import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestProject } from 'vitest/node';
import { startEmbeddedRedis } from '../../workers/queue/embedded.ts';

declare module 'vitest' {
  export interface ProvidedContext {
    redis: string;
  }
}

/** One real Redis for the whole suite; every test file keeps to its own key prefix. REDIS_TEST_URL uses another one. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const given = process.env.REDIS_TEST_URL;
  if (given !== undefined && given !== '') {
    project.provide('redis', given);
    return async () => undefined;
  }
  const folder = mkdtempSync(join(tmpdir(), 'longshore-redis-'));
  const redis = await startEmbeddedRedis(folder, { persist: false });
  project.provide('redis', redis.url);
  return async () => {
    await redis.stop();
    rmSync(folder, { recursive: true, force: true });
  };
}
