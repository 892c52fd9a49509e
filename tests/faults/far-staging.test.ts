/** Staging from far archives, with no staged bundle kept, killed in the middle: what is asked for again. */
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startHttpProxy } from '../support/http-proxy.ts';
import type { Place } from '../support/place.ts';
import { hasRclone } from '../support/rclone.ts';
import { backEndOf, type S3Server, startS3Server } from '../support/s3.ts';
import { until } from '../support/until.ts';
import { fingerprint, type Landing, makeLanding } from '../tasks/landing.ts';

let server: S3Server;
beforeAll(async () => {
  server = await startS3Server();
});
afterAll(() => server.stop());

const MB = 1024 * 1024;
const RUN_TASK = join(import.meta.dirname, '../fixtures/run-task.ts');
const BIG = 40 * MB;

interface Far {
  readonly landing: Landing;
  /** The archive gives a bundle slowly, or not to its end, until this is called. */
  readonly hasten: () => void;
  /** Where in the bundle each request since then began. */
  readonly asked: () => number[];
}

const make = (backends: Record<string, unknown>): Promise<Landing> =>
  makeLanding(
    { 'a/small': 'x', 'big.bin': randomBytes(BIG), 'z/small': 'y' },
    {
      name: `run_${randomBytes(4).toString('hex')}`, // The S3 server is shared.
      config: { archive: { copies: ['far'], backends }, stage: { keep_bundle: false } },
    },
  );

async function onS3(): Promise<Far> {
  const proxy = await startHttpProxy(server.url);
  const landing = await make({ far: backEndOf(server, proxy) });
  await landing.upTo('archive_dataset');
  const isBundle = ({ method, url }: { method: string; url: string }): boolean =>
    method === 'GET' && new URL(url, 'http://any').pathname.endsWith('.tar');
  proxy.faults = [{ when: isBundle, how: { stall: 30 * MB } }];
  return {
    landing,
    hasten: () => {
      proxy.faults = [];
      proxy.seen.length = 0;
    },
    asked: () =>
      proxy.seen
        .filter(isBundle)
        .map(({ headers }) => Number(/^bytes=(\d+)-/.exec(headers.range ?? 'bytes=0-')?.[1])),
  };
}

async function onRclone(): Promise<Far> {
  const far = {
    kind: 'rclone',
    remote: 'disk:bundles',
    config_file: '{home}/rclone.conf',
    rclone: '{home}/rclone',
  };
  const landing = await make({ far });
  const { place } = landing;
  writeFileSync(place.path('rclone.conf'), `[disk]\ntype = alias\nremote = ${place.path('remote')}\n`);
  const [calls, slow] = [place.path('calls'), place.path('slow')];
  writeFileSync(
    place.path('rclone'),
    `#!/bin/sh\necho "$@" >> '${calls}'\n[ -e '${slow}' ] && exec rclone --bwlimit 10M "$@"\nexec rclone "$@"\n`,
    { mode: 0o755 },
  );
  await landing.upTo('archive_dataset');
  writeFileSync(slow, '');
  let before = 0;
  return {
    landing,
    hasten: () => {
      rmSync(slow);
      before = readFileSync(calls, 'utf8').length;
    },
    asked: () =>
      [
        ...readFileSync(calls, 'utf8')
          .slice(before)
          .matchAll(/cat --offset (\d+) .*\.tar$/gm),
      ].map((call) => Number(call[1])),
  };
}

/** Runs the task in a process of its own; kills it, and what it started, when so much of the large file is there. */
async function killedAt({ place, id }: Landing, bytes: number): Promise<number> {
  const child = spawn(process.execPath, [RUN_TASK, 'stage_dataset', String(id), 'dead0001', '1'], {
    env: { ...process.env, ...place.env },
    stdio: ['ignore', 'ignore', 'inherit'],
    detached: true,
  });
  const closed = once(child, 'close');
  const half = (): number => {
    const file = partials(place).find((path) => path.endsWith('.partial-dead0001/big.bin'));
    return file === undefined ? 0 : statSync(join(place.path('data/staged'), file)).size;
  };
  await until(() => half() >= bytes, { what: 'a part of the large file' });
  process.kill(-(child.pid as number), 'SIGKILL');
  await closed;
  return half();
}

/** What is half staged, with its notes. */
const partials = (place: Place): string[] =>
  existsSync(place.path('data/staged'))
    ? readdirSync(place.path('data/staged'), { recursive: true, encoding: 'utf8' }).filter((path) =>
        path.includes('.partial-'),
      )
    : [];

test.for(['s3', 'rclone'] as const)(
  'a staging from %s that is killed asks the archive for what follows, also under another task, and proves the whole',
  async (kind, { skip }) => {
    if (kind === 'rclone' && !hasRclone()) skip('NOT TESTED: no rclone');
    const { landing, hasten, asked } = await (kind === 's3' ? onS3() : onRclone());
    const kept = await killedAt(landing, 20 * MB);
    hasten();
    await landing.run('stage_dataset', { task_id: 'live0001', attempt: 2 });
    expect(kept).toBeLessThan(BIG);
    expect(asked()).toHaveLength(1);
    expect(asked()[0]).toBeGreaterThanOrEqual(kept);
    expect(asked()[0]).toBeLessThan(kept + MB); // Headers, and the small file before it.
    const { staged_path, bundle } = await landing.dataset();
    expect(fingerprint(staged_path as string)).toBe(fingerprint(landing.origin));
    expect(bundle?.verified_at).not.toBeNull();
    expect(partials(landing.place)).toEqual([]);
    await landing.run('validate_dataset');
  },
);
