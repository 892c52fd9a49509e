/**
 * A MongoDB wire server on this machine, for tests and for looking around:
 *
 *     node tests/services/mongodb.ts [port]
 *
 * prints its URL and runs until it is stopped. It is FerretDB 1.24 on SQLite, built with the Go toolchain once (tests/services/ferretdb/),
 * in a folder of its own, without telemetry. Where MONGODB_URL is set, the tests use that server instead.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { leash } from '../support/leash.ts';

export interface MongodbServer {
  readonly url: string;
  readonly port: number;
  readonly child: ChildProcess;
  /** SIGTERM, or another signal; resolves when the process is gone. */
  stop(signal?: NodeJS.Signals): Promise<void>;
}

const build = join(import.meta.dirname, 'ferretdb/build.sh');

/** Path of the built server; null where nobody has built it: `npm test` does, where there is Go. */
export function findFerretdb(): string | null {
  const { status, stdout } = spawnSync('sh', [build, '--where'], { encoding: 'utf8' });
  return status === 0 ? stdout.trim() : null;
}

/** @param port 0 takes a free one */
export async function startFerretdb(binary: string, folder: string, port = 0): Promise<MongodbServer> {
  const child = spawn(binary, [`127.0.0.1:${port}`, folder], { stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = once(child, 'close');
  const lines = createInterface({ input: child.stdout });
  const first = await Promise.race([once(lines, 'line'), ended]);
  const url = String(first[0]);
  if (!url.startsWith('mongodb://')) throw new Error(`FerretDB did not start: ${url}`);
  return {
    url,
    port: Number(new URL(url).port),
    child,
    stop: async (signal = 'SIGTERM') => {
      child.kill(signal);
      await ended;
    },
  };
}

if (import.meta.main) {
  const built = spawnSync('sh', [build], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });
  if (built.status !== 0) throw new Error('FerretDB could not be built; it needs Go 1.22 or newer');
  const folder = mkdtempSync(join(tmpdir(), 'longshore-mongodb-'));
  const leashed = leash(folder);
  const server = await startFerretdb(built.stdout.trim(), folder, Number(process.argv[2] ?? 0));
  leashed.hold(server.child.pid as number);
  process.stdout.write(`${server.url}\n`);
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => void server.stop());
  await once(server.child, 'close');
  rmSync(folder, { recursive: true, force: true });
  leashed.release();
}
