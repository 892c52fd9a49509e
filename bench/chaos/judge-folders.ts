import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readlinkSync } from 'node:fs';
import { join, relative, sep } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { proveBundle, proveTree, treeDifferences } from '../../scripts/demo/verify.ts';
import type { Ground } from './ground.ts';

interface Landed {
  name: string;
  type: string;
  origin_path: string;
  archive_path: string | null;
  staged_path: string | null;
}

/**
 * Every byte by other programs (find, sha256sum, tar), against the datasets as they were made: `made` holds what was
 * copied, the source what was renamed. And every name below the data folders that none of them accounts for.
 */
export async function judgeFolders(ground: Ground, qc: boolean): Promise<string[]> {
  const landed = ground.ask<Landed>(
    'select name, type, origin_path, archive_path, staged_path from datasets',
  );
  const problems: string[] = [];
  for (const dataset of landed) problems.push(...(await corruptions(dataset, join(ground.folder, 'made'))));
  return [...problems, ...litter(ground, landed, qc)];
}

async function corruptions(
  { name, origin_path, archive_path, staged_path }: Landed,
  made: string,
): Promise<string[]> {
  if (archive_path === null || staged_path === null) return [`${name} was never staged`];
  const told = (text: string): string => `${name}: ${text}`;
  try {
    const origin = await proveTree(origin_path);
    const copied = join(made, origin_path.slice(origin_path.lastIndexOf(sep) + 1));
    return [
      ...(existsSync(copied) ? treeDifferences(await proveTree(copied), origin) : []),
      ...treeDifferences(origin, await proveTree(staged_path)),
      ...(await proveBundle(archive_path, origin_path, origin.members)),
    ].map(told);
  } catch (error) {
    return [told((error as Error).message)];
  }
}

function litter(ground: Ground, landed: readonly Landed[], qc: boolean): string[] {
  const { config } = ground;
  const [archive, data] = [join(config.paths.root, 'archive'), config.paths.root];
  const reports = qc ? landed.map(({ name }) => join(config.paths.RAW_DATA.qc, name, 'qc')) : [];
  const staged = landed.map(({ staged_path }) => staged_path ?? '');
  const bundles = landed.map(({ name, type }) =>
    join(config.paths.RAW_DATA.bundle.stage, `${name}.${type}.tar`),
  );
  const expected = new Set([
    join(archive, '.longshore-archive'),
    ...landed.flatMap(({ archive_path }) => [archive_path ?? '', `${archive_path}.manifest.ndjson`]),
    ...bundles,
  ]);
  const sources = join(data, 'source');
  const strange = namesBelow(data).filter(({ path, type }) => {
    if (path.startsWith(sources + sep) || expected.delete(path)) return false;
    if (staged.some((folder) => path.startsWith(folder + sep))) return false;
    const report = reports.find((folder) => path.startsWith(folder + sep));
    if (report !== undefined) return /\/(\.|tmp(\/|$))/.test(path.slice(report.length));
    if (type === 'd') return !isPlace(path, staged, config.paths.root);
    if (type === 'l' && path.startsWith(config.paths.download_dir + sep))
      return ![
        ...staged,
        ...bundles,
        ...reports.map((folder) => join(folder, 'multiqc_report.html')),
      ].includes(readlinkSync(path));
    return true;
  });
  const links = existsSync(config.paths.download_dir) ? readdirSync(config.paths.download_dir).length : 0;
  return [
    ...strange.map(({ path }) => `litter: ${relative(ground.folder, path)}`),
    ...[...expected].map((path) => `missing: ${relative(ground.folder, path)}`),
    ...(links === (qc ? 3 : 2) * landed.length ? [] : [`${links} links for ${landed.length} datasets`]),
    ...reservations(join(config.state_dir, 'reservations.db')),
  ];
}

/** A folder that something is in on its way to a place of its own, or that every landing shares. */
function isPlace(path: string, staged: readonly string[], data: string): boolean {
  if (staged.some((folder) => folder === path || folder.startsWith(path + sep))) return true;
  return !relative(data, path)
    .split(sep)
    .some((part) => part.startsWith('.') || /partial|claim|tmp/.test(part));
}

function namesBelow(folder: string): { path: string; type: string }[] {
  const { stdout } = spawnSync('find', [folder, '-mindepth', '1', '-printf', String.raw`%y%p\0`], {
    encoding: 'utf8',
    maxBuffer: 2 ** 30,
  });
  return stdout
    .split('\0')
    .filter((line) => line !== '')
    .map((line) => ({ type: line.slice(0, 1), path: line.slice(1) }));
}

function reservations(file: string): string[] {
  if (!existsSync(file)) return [];
  const db = new DatabaseSync(file, { readOnly: true });
  // Those of processes that were killed count for nothing, and go with the next reservation (content/space.ts).
  const rows = db.prepare('select pid from reservation').all() as { pid: number }[];
  const held = rows.filter(({ pid }) => existsSync(`/proc/${pid}`)).length;
  db.close();
  return held === 0 ? [] : [`${held} reservations of space were never given up`];
}
