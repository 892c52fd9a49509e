import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { type Config, pathsOf } from '../../config/index.ts';
import type { Archive } from '../../workers/archive/contract.ts';
import { archiveNamesOf, openArchive } from '../../workers/archive/index.ts';
import { coerceError } from '../../workers/errors.ts';
import { makeFolders } from '../../workers/folders.ts';
import { bytes, duration } from '../cli/format.ts';
import { type Finding, ok, problem, warning } from './finding.ts';

type BackEnd = Config['archive']['backends'][string];

export interface UsedBackend {
  readonly name: string;
  readonly options: BackEnd;
  /** Of the dataset types that keep a copy there. */
  readonly types: readonly string[];
}

/** Back ends that get copies; others may still hold old ones, and are not looked at. */
export function backendsInUse(config: Config): UsedBackend[] {
  return Object.entries(config.archive.backends).flatMap(([name, options]) => {
    const types = config.dataset_types.filter((type) => archiveNamesOf(config, type).includes(name));
    return types.length === 0 ? [] : [{ name, options, types }];
  });
}

/** One object for each folder of the back end; the same at each run of a host, so that a killed one leaves no second. */
const keysOf = (config: Config, types: readonly string[]): string[] => [
  ...new Set(
    types.map((type) =>
      join(
        pathsOf(config, type).archive.replaceAll('{year}', String(new Date().getFullYear())),
        `longshore-doctor-${hostname()}.tar`,
      ),
    ),
  ),
];

const backendOf = (config: Config, name: string): UsedBackend | undefined =>
  backendsInUse(config).find((one) => one.name === name);

/** Whether each of its places is reachable; for a file system, whether its mark is there. */
export async function* reachFindings(config: Config, name: string): AsyncGenerator<Finding> {
  const archive = openArchive(config, name);
  for (const key of keysOf(config, backendOf(config, name)?.types ?? []))
    yield await judgeReach(archive, key);
}

async function judgeReach(archive: Archive, key: string): Promise<Finding> {
  const where = archive.locate(key).replace(/\/[^/]*$/, '');
  const words = { subject: archive.name, expected: 'reachable, with its mark where it is a file system' };
  try {
    if (await archive.local?.isNew(key))
      return ok('archive.reachable', { ...words, seen: `${where}: not used yet; the first put marks it` });
    await archive.ensureReachable(key);
    return ok('archive.reachable', { ...words, seen: where });
  } catch (error) {
    const { message, hint } = coerceError(error);
    return problem('archive.reachable', { ...words, seen: message, remedy: hint });
  }
}

/** Writes, looks at, reads in part, fetches and deletes one small object in each place of the back end. */
export async function* roundTripFindings(config: Config, name: string): AsyncGenerator<Finding> {
  const archive = openArchive(config, name);
  makeFolders(config.paths.scratch);
  const folder = mkdtempSync(join(config.paths.scratch, 'longshore-doctor-'));
  try {
    for (const key of keysOf(config, backendOf(config, name)?.types ?? []))
      yield await judgeRoundTrip(archive, key, folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const SIZE = 16 * 1024;
const PART = { offset: 5000, length: 3000 };

async function judgeRoundTrip(archive: Archive, key: string, folder: string): Promise<Finding> {
  const words = { subject: archive.name, expected: 'what was put is read back the same, and deleted' };
  // A mark that the doctor makes would turn an empty mount point into an archive.
  if (await archive.local?.isNew(key))
    return warning('archive.round_trip', {
      ...words,
      seen: `${archive.locate(key)}: left out, because this host has not used the archive yet`,
      remedy:
        'See that it is mounted, then land a first dataset, or mark it by hand as docs/archives.md says.',
    });
  const begun = Date.now();
  let step = 'put';
  const enter = (next: string): void => {
    step = next;
  };
  try {
    await exchange(archive, key, folder, enter);
    const took = duration((Date.now() - begun) / 1000);
    return ok('archive.round_trip', { ...words, seen: `${bytes(SIZE)} there and back in ${took}` });
  } catch (error) {
    if (step !== 'put') await archive.delete(key).catch(() => false); // What failed before is what is told.
    const { message, hint } = coerceError(error);
    return problem('archive.round_trip', { ...words, seen: `${step}: ${message}`, remedy: hint });
  }
}

async function exchange(
  archive: Archive,
  key: string,
  folder: string,
  enter: (step: string) => void,
): Promise<void> {
  const sent = randomBytes(SIZE);
  const source = join(folder, 'sent');
  const target = join(folder, 'fetched');
  writeFileSync(source, sent);
  await archive.prepare(key);
  const digests = { md5: createHash('md5').update(sent).digest('hex') };
  await archive.put(key, { file: source, digests }, { task_id: `doctor-${hostname()}` });
  enter('stat');
  const there = await archive.stat(key);
  if (there?.size !== SIZE) throw new Error(`${there?.size ?? 'no'} bytes are there, ${SIZE} were put`);
  enter('read');
  const part: Buffer[] = [];
  for await (const chunk of archive.read(key, PART)) part.push(chunk);
  if (!Buffer.concat(part).equals(sent.subarray(PART.offset, PART.offset + PART.length)))
    throw new Error('the part that was read differs from what was put');
  enter('get');
  await archive.get(key, target, {});
  if (!readFileSync(target).equals(sent)) throw new Error('what was fetched differs from what was put');
  enter('delete');
  await archive.delete(key);
  if ((await archive.stat(key)) !== null) throw new Error('it is still there after it was deleted');
}
