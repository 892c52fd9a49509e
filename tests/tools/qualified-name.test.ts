import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { makePlace, type Place } from '../support/place.ts';

const NAMELESS = 'NOT TESTED: the name of this host cannot be set aside here; full names are not looked up';
const root = join(import.meta.dirname, '../..');

/** On a host that is called node7, and whose name service knows it by its full name. Null: there can be none. */
function onNode7(place: Place, script: string, ...args: string[]): string | null {
  const hosts = place.path('hosts');
  writeFileSync(hosts, '127.0.0.1 localhost\n10.9.8.7 node7.example.org node7\n');
  const setUp = 'hostname node7 && mount --bind "$0" /etc/hosts || exit 90; exec "$@"';
  const command = [process.execPath, join(root, script), ...args];
  const done = spawnSync('unshare', ['--uts', '--mount', 'sh', '-c', setUp, hosts, ...command], {
    encoding: 'utf8',
    env: { ...process.env, ...place.env },
  });
  if (done.error !== undefined || done.status === 90 || done.stderr.startsWith('unshare:')) return null;
  expect({ status: done.status, stderr: done.stderr }).toMatchObject({ status: 0 });
  return done.stdout;
}

test('a program of a task, and what is measured, stand under the full name of their host', async ({
  skip,
}) => {
  const place = await makePlace({ metrics: { quota: null, lustre: [], df: ['/'] } });
  const told = onNode7(place, 'tests/fixtures/run-program.ts');
  if (told === null) return skip(NAMELESS);
  expect(JSON.parse(told)).toEqual(['node7.example.org']);
  const measured = onNode7(place, 'scripts/metrics.ts', '--dry-run', '--json') ?? '{}';
  const { metrics } = JSON.parse(measured) as { metrics: { subject: string }[] };
  expect(new Set(metrics.map(({ subject }) => subject))).toEqual(new Set(['node7.example.org']));
});
