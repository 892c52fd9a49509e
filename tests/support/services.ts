import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestProject } from 'vitest/node';
import { findFerretdb, startFerretdb } from '../services/mongodb.ts';
import { startEmbeddedRedis } from '../../workers/queue/embedded.ts';
import { leash } from './leash.ts';

declare module 'vitest' {
  export interface ProvidedContext {
    redis: string;
    /** Empty where there is none; see tests/services/mongodb.ts. */
    mongodb: string;
    /** True where that is a FerretDB that was brought up for the suite. */
    ferretdb: boolean;
  }
}

/**
 * One Redis and one MongoDB server for the whole suite; every test file keeps to its own key prefix and database. They end
 * with the suite, also when that is killed.
 */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const stops = [await provideRedis(project), await provideMongodb(project)];
  return async () => {
    for (const stop of stops) await stop();
  };
}

/** REDIS_TEST_URL uses another one. */
async function provideRedis(project: TestProject): Promise<() => Promise<void>> {
  const given = process.env.REDIS_TEST_URL;
  if (given !== undefined && given !== '') {
    project.provide('redis', given);
    return async () => undefined;
  }
  const folder = mkdtempSync(join(tmpdir(), 'longshore-redis-'));
  const leashed = leash(folder);
  const redis = await startEmbeddedRedis(folder, { persist: false });
  leashed.hold(redis.pid);
  project.provide('redis', redis.url);
  return async () => {
    await redis.stop();
    rmSync(folder, { recursive: true, force: true });
    leashed.release();
  };
}

/** MONGODB_URL uses another one. */
async function provideMongodb(project: TestProject): Promise<() => Promise<void>> {
  const given = process.env.MONGODB_URL ?? '';
  const binary = given === '' ? findFerretdb() : null;
  if (binary === null) {
    project.provide('mongodb', given);
    project.provide('ferretdb', false);
    return async () => undefined;
  }
  project.provide('ferretdb', true);
  const folder = mkdtempSync(join(tmpdir(), 'longshore-mongodb-'));
  const leashed = leash(folder);
  const server = await startFerretdb(binary, folder);
  leashed.hold(server.child.pid as number);
  project.provide('mongodb', server.url);
  return async () => {
    await server.stop();
    rmSync(folder, { recursive: true, force: true });
    leashed.release();
  };
}
