import { existsSync, readFileSync } from 'node:fs';
import { availableParallelism, hostname } from 'node:os';
import { join } from 'node:path';
import type { Config } from '../../config/index.ts';
import { livingPm2Home } from '../../workers/fleet/scaling/pm2.ts';
import { currentUser } from '../cli/session.ts';
import { closedFindings } from './closed.ts';
import { compareVersions, type Finding, finding, ok, warning } from './finding.ts';
import { counted } from '../cli/format.ts';

const root = join(import.meta.dirname, '../..');

/** Sockets, files of a walk, and the pipes of a child for each slot. */
const OPEN_FILES = 4096;
/** Threads count too: a task has a dozen. */
const PROCESSES_EACH_SLOT = 64;

/** What is the same for every process of this user on this host. */
export async function* hostFindings(config: Config): AsyncGenerator<Finding> {
  const { engines } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
    engines: { node: string };
  };
  yield judgeNode(process.versions.node, engines.node);
  yield judgeUser(currentUser(), process.getuid?.() ?? -1, config.service_user);
  yield judgeUmask(process.umask());
  yield* closedFindings(config);
  yield* judgeLimits(readFileSync('/proc/self/limits', 'utf8'), config.autoscale.max);
  yield judgeZone(process.env.TZ);
  yield await judgePm2();
}

export function judgeNode(version: string, wanted: string): Finding {
  return finding(compareVersions(version, wanted) < 0 ? 'problem' : 'ok', 'host.node', {
    seen: `${version} on ${hostname()}`,
    expected: `${wanted} (engines of package.json)`,
    remedy: 'npm ci brings its own Node 24: put node_modules/.bin first on PATH.',
  });
}

/** Permissions were looked at as this user; the fleet may be another one. */
export function judgeUser(user: string, uid: number, service_user: string): Finding {
  const words = { seen: `${user} (uid ${uid})`, expected: `${service_user} (service_user), not root` };
  if (user !== service_user)
    return warning('host.user', {
      ...words,
      remedy: `Run the doctor as ${service_user}: what it says of permissions holds for ${user} only. Or correct service_user.`,
    });
  return finding(uid === 0 ? 'warning' : 'ok', 'host.user', {
    ...words,
    remedy: 'Run the fleet as a user of its own: nothing stops root from writing where it should not.',
  });
}

export function judgeUmask(umask: number): Finding {
  const seen = umask.toString(8).padStart(4, '0');
  const own = (umask & 0o700) !== 0;
  const open = (umask & 0o002) === 0;
  return finding(own ? 'problem' : open ? 'warning' : 'ok', 'host.umask', {
    seen,
    expected: '0022 or 0002: others may read, not write',
    remedy: own
      ? 'Set umask 0022 where the fleet is started: with this one it cannot use its own files.'
      : 'Set umask 0022 where the fleet is started: with this one everybody may change what it makes.',
  });
}

export function* judgeLimits(limits: string, slots: number): Generator<Finding> {
  const files = softLimit(limits, 'Max open files');
  yield finding(files < OPEN_FILES ? 'warning' : 'ok', 'host.open_files', {
    seen: shownLimit(files),
    expected: `at least ${OPEN_FILES}`,
    remedy: 'Raise it where the fleet is started: ulimit -n 65536, or nofile in /etc/security/limits.d.',
  });
  const processes = softLimit(limits, 'Max processes');
  const needed = slots * PROCESSES_EACH_SLOT;
  yield finding(processes < needed ? 'problem' : 'ok', 'host.processes', {
    seen: `${shownLimit(processes)}, ${counted(availableParallelism(), 'core')}`,
    expected: `at least ${needed}: ${PROCESSES_EACH_SLOT} for each of ${counted(slots, 'slot')} (autoscale.max)`,
    remedy: 'Raise it where the fleet is started: ulimit -u, or nproc in /etc/security/limits.d.',
  });
}

function softLimit(limits: string, name: string): number {
  const line = limits.split('\n').find((one) => one.startsWith(name)) ?? '';
  const word = line.slice(name.length).trim().split(/\s+/)[0] ?? '';
  return word === 'unlimited' || word === '' ? Number.POSITIVE_INFINITY : Number(word);
}

const shownLimit = (limit: number): string => (Number.isFinite(limit) ? String(limit) : 'unlimited');

/** Schedules and the years of archive paths follow the host's clock. */
export function judgeZone(named: string | undefined): Finding {
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const unknown = named !== undefined && named !== '' && !isZone(named.replace(/^:/, ''));
  return finding(unknown ? 'warning' : 'ok', 'host.time_zone', {
    seen: unknown ? `TZ=${named} names no zone; ${zone} holds` : zone,
    expected: 'the zone that schedules are meant in, the same on every host',
    remedy: 'Correct TZ, or unset it and use timedatectl set-timezone.',
  });
}

function isZone(name: string): boolean {
  if (name.startsWith('/')) return true; // A file of the zone's rules.
  try {
    Intl.DateTimeFormat('en', { timeZone: name });
    return true;
  } catch {
    return false;
  }
}

async function judgePm2(): Promise<Finding> {
  const manifest = join(root, 'node_modules/pm2/package.json');
  const expected = 'installed, and its daemon up where it keeps the fleet';
  if (!existsSync(manifest))
    return warning('host.pm2', { seen: 'not installed', expected, remedy: 'Run npm ci in the checkout.' });
  const { version } = JSON.parse(readFileSync(manifest, 'utf8')) as { version: string };
  const up = await livingPm2Home();
  return ok('host.pm2', {
    seen: `${version}, ${up === null ? 'no daemon of this user' : `its daemon runs (${up})`}`,
    expected,
  });
}
