/** Every configured folder, one area for each mount: a mount that hangs keeps only its own answer. */
import { randomUUID } from 'node:crypto';
import { accessSync, closeSync, constants, fstatSync, openSync, rmSync, statfsSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { type Config, usesSqlite } from '../../config/index.ts';
import { type PlaceOfKey, sourcePlaces, writtenPlaces } from '../../config/places.ts';
import { syncFully, writeFully } from '../../workers/content/files.ts';
import { isFar, type Mount, mountOf, readMounts } from '../../workers/content/mounts.ts';
import { nearestFolder } from '../../workers/content/space.ts';
import { coerceError } from '../../workers/errors.ts';
import { bytes, count } from '../cli/format.ts';
import { judgeClock } from './clock.ts';
import { type Finding, finding, ok, problem, warning } from './finding.ts';

interface Place extends PlaceOfKey {
  readonly use: 'written' | 'source';
}

const placesOf = (config: Config): Place[] => [
  ...writtenPlaces(config).map((place) => ({ ...place, use: 'written' as const })),
  // No start depends on it, and registrations go on without; but then nobody has their log.
  { key: 'logs.register_ondemand', path: config.logs.register_ondemand, use: 'written' },
  ...sourcePlaces(config).map((place) => ({ ...place, use: 'source' as const })),
];

const pointOf = (path: string, mounts: readonly Mount[]): string => mountOf(path, mounts)?.point ?? '/';

/** Mount points that configured folders lie on; found without touching any of them. */
export function usedMounts(config: Config): string[] {
  const mounts = readMounts();
  return [...new Set(placesOf(config).map(({ path }) => pointOf(path, mounts)))];
}

export async function* mountFindings(config: Config, point: string): AsyncGenerator<Finding> {
  const mounts = readMounts();
  const mount = mountOf(point, mounts);
  const places = placesOf(config).filter(({ path }) => pointOf(path, mounts) === point);
  for (const place of places) yield judgePlace(place, mount);
  if (usesSqlite(config) && pointOf(config.catalog.path, mounts) === point)
    yield judgeCatalogPlace(config.catalog.path, mount);
  const written = places.filter(({ use }) => use === 'written').map(({ path }) => nearestFolder(path));
  const [first] = written;
  if (first !== undefined) yield* judgeSpace(config, first, point);
  const writable = written.find(mayWrite);
  if (writable !== undefined) yield fileClock(config, writable, point);
}

function judgePlace({ key, path, use }: Place, mount: Mount | null): Finding {
  const id = use === 'source' ? 'paths.source' : 'paths.folder';
  const where = mount === null ? '' : ` (${mount.type} at ${mount.point})`;
  const expected = use === 'source' ? 'a folder this user may read' : 'a folder this user may write';
  const found = statSync(path, { throwIfNoEntry: false });
  const words = { subject: key, expected };
  if (found === undefined && use === 'source')
    return warning(id, {
      ...words,
      seen: `${path} is not there`,
      remedy: 'Mount it or make it; until then the watcher waits and nothing of it is registered.',
    });
  const at = found === undefined ? nearestFolder(dirname(path)) : path;
  if (found?.isDirectory() === false)
    return problem(id, {
      ...words,
      seen: `${path} is a file`,
      remedy: `Correct ${key}, or move the file away.`,
    });
  const refused = refusal(
    at,
    use === 'source' ? constants.R_OK | constants.X_OK : constants.W_OK | constants.X_OK,
  );
  const readOnly = use === 'written' && mount?.options.has('ro') === true;
  if (readOnly || refused !== null)
    return problem(id, {
      ...words,
      seen: `${at}${where}: ${readOnly ? 'mounted read-only' : refused}`,
      remedy: readOnly
        ? `Mount ${mount.point} for writing; the kernel's log says whether an error made it read-only.`
        : `Give this user the right (chown, chmod, ACL), or correct ${key}.`,
    });
  const seen = found === undefined ? `${path} is made when it is needed, below ${at}` : path;
  return ok(id, { ...words, seen: `${seen}${where}` });
}

function refusal(path: string, mode: number): string | null {
  try {
    accessSync(path, mode);
    return null;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? String(error);
  }
}

const mayWrite = (path: string): boolean => refusal(path, constants.W_OK | constants.X_OK) === null;

/** SQLite shares memory between processes by a mapped file: that works within one host only. */
function judgeCatalogPlace(path: string, mount: Mount | null): Finding {
  const type = mount?.type ?? 'unknown';
  // A page of the mapped file needs new room there each time it was written, and a process is told of none by a signal.
  if (type === 'btrfs')
    return warning('paths.catalog', {
      subject: 'catalog.path',
      seen: `${path} on btrfs`,
      expected: 'a file system on which a full disk is an error',
      remedy:
        'Put catalog.path on ext4 or xfs: when a btrfs, or a quota of it, is full, every process that has the catalog open dies (SIGBUS) until there is room. Nothing recorded is lost by that.',
    });
  return finding(isFar(type) ? 'warning' : 'ok', 'paths.catalog', {
    subject: 'catalog.path',
    seen: `${path} on ${type}`,
    expected: 'a file system of this host',
    remedy: 'Put catalog.path on a local disk. On a network file system all processes must run on one host.',
  });
}

function* judgeSpace(config: Config, folder: string, point: string): Generator<Finding> {
  const { free_percent, free_inodes_percent } = config.doctor;
  const { bavail, bfree, blocks, bsize, ffree, files } = statfsSync(folder);
  // As `df` counts: what only root may use is no room.
  const usable = blocks - bfree + bavail;
  yield judgeShare('space.free', point, {
    share: usable === 0 ? 100 : (100 * bavail) / usable,
    limit: free_percent,
    key: 'doctor.free_percent',
    free: bytes(bavail * bsize),
    // Tasks are refused room before that: the fleet stands still with E_NO_SPACE.
    none:
      bavail * bsize <= config.stage.reserve_bytes
        ? `more than ${bytes(config.stage.reserve_bytes)} free (stage.reserve_bytes)`
        : null,
  });
  // btrfs, and file systems of other hosts, make inodes as they need them and state none.
  if (files > 0)
    yield judgeShare('space.inodes', point, {
      share: (100 * ffree) / files,
      limit: free_inodes_percent,
      key: 'doctor.free_inodes_percent',
      free: `${count(ffree)} inodes`,
      none: ffree === 0 ? 'an inode for each new file' : null,
    });
}

interface Share {
  readonly share: number;
  readonly limit: number;
  readonly key: string;
  readonly free: string;
  /** What there must be at the least, where even that is missing, whatever the share. */
  readonly none: string | null;
}

export function judgeShare(id: string, point: string, { share, limit, key, free, none }: Share): Finding {
  const level = none !== null || share < limit / 2 ? 'problem' : share < limit ? 'warning' : 'ok';
  return finding(level, id, {
    subject: point,
    seen: `${free} free (${share.toFixed(1)} %)`,
    expected: none ?? `at least ${limit} % free (${key})`,
    remedy:
      'Free room (longshore datasets --staged lists what longshore purge can take away), add disk, or turn on stage.purge.pressure.',
  });
}

const TRIED_BYTES = 64 * 1024;

/** The time that the file system gives to a new file: on a network mount it is its server's. */
function fileClock(config: Config, folder: string, point: string): Finding {
  const file = join(folder, `.longshore-doctor-${randomUUID()}`);
  try {
    const before = Date.now();
    const open = openSync(file, 'wx');
    const theirs = fstatSync(open).mtimeMs;
    try {
      // A quota that is used up takes names all the same, and its file system shows free space.
      writeFully(open, Buffer.alloc(TRIED_BYTES), file);
      syncFully(open, file);
    } finally {
      closeSync(open);
    }
    // The kernel stamps with the time of its last tick, which may be 10 ms ago.
    const reading = { before: before - 20, theirs, after: Date.now() };
    return judgeClock('clock.files', point, reading, config.doctor.clock_skew_seconds);
  } catch (error) {
    return problem('clock.files', {
      subject: point,
      seen: coerceError(error).message,
      expected: `a file can be written in ${folder}`,
      remedy:
        'Look at the file system (full? an error made it read-only?), and at quota and rights of this user.',
    });
  } finally {
    rmSync(file, { force: true });
  }
}
