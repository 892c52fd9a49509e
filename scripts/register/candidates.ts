import { readdir, realpath, stat } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import type { Config } from '../../config/index.ts';
import type { NewDataset } from '../../workers/catalog/contract.ts';
import { isLongshoreError, LongshoreError } from '../../workers/errors.ts';
import { datasetNameOf } from '../../workers/watch/registration.ts';
import { holdsUnreadable, outageOf } from '../../workers/watch/source.ts';
import { buildWorkflow } from '../../workers/workflows/definition.ts';
import { refuseOwn } from './own-places.ts';

export interface RegisterOptions {
  datasetType: string;
  projectId?: string;
  description?: string;
  prefix?: string;
  suffix?: string;
  ingestSubdirs?: boolean;
  workflow?: string;
}

export interface Candidate {
  /** As the person sees it. */
  folder: string;
  dataset: NewDataset;
}

/** A folder that cannot become a dataset; the others do. */
export interface Refused {
  folder: string;
  error: LongshoreError;
}

/**
 * What is to be registered: the folder itself or its direct subfolders.
 *
 * @throws E_USAGE with every problem of the arguments at once
 */
export async function candidatesOf(
  config: Config,
  path: string,
  options: RegisterOptions,
): Promise<(Candidate | Refused)[]> {
  const problems = problemsOf(config, options);
  // npm changes into the project's folder; a relative path means the one where it was called.
  const root = resolve(process.env.INIT_CWD ?? '', path);
  const folders = await foldersOf(root, options.ingestSubdirs ?? false, problems);
  if (problems.length > 0) {
    throw new LongshoreError('E_USAGE', `nothing was registered: ${problems.join('; ')}`, {
      fields: { path: root, problems },
    });
  }
  return Promise.all(folders.map((folder) => candidateOf(config, folder, options)));
}

async function candidateOf(
  config: Config,
  folder: string,
  options: RegisterOptions,
): Promise<Candidate | Refused> {
  try {
    const origin_path = await realpath(folder);
    refuseOwn(config, origin_path);
    return { folder, dataset: newDataset(folder, origin_path, options) };
  } catch (error) {
    return { folder, error: isLongshoreError(error) ? error : unreachable(folder, error) };
  }
}

function unreachable(folder: string, error: unknown): LongshoreError {
  const { code } = error as NodeJS.ErrnoException;
  if (code === 'ENOENT' && holdsUnreadable(basename(folder)))
    return new LongshoreError('E_NAME_UNSAFE', `the name of ${folder} is not valid UTF-8`, {
      fields: { folder },
      hint: 'Rename it; names inside of a dataset may be any bytes.',
      cause: error,
    });
  return new LongshoreError('E_ORIGIN_MISSING', `${folder} cannot be reached: ${outageOf(error)}`, {
    fields: { folder, errno: code },
    cause: error,
  });
}

function problemsOf(config: Config, options: RegisterOptions): string[] {
  const problems: string[] = [];
  const { datasetType, projectId } = options;
  if (!config.dataset_types.includes(datasetType))
    problems.push(
      `dataset type "${datasetType}" is not configured; expected one of ${config.dataset_types.join(', ')}`,
    );
  if (projectId !== undefined && !/^\S+$/.test(projectId))
    problems.push(`project id "${projectId}" is blank or holds white space`);
  return [...problems, ...workflowProblems(config, options.workflow)];
}

function workflowProblems(config: Config, workflow = config.registration.workflow): string[] {
  try {
    buildWorkflow(config, workflow, { dataset_id: 0, initiator: 'check' });
    return [];
  } catch (error) {
    if (isLongshoreError(error)) return [error.message];
    throw error;
  }
}

async function foldersOf(root: string, subfolders: boolean, problems: string[]): Promise<string[]> {
  try {
    if (!(await stat(root)).isDirectory()) {
      problems.push(`${root} is not a folder`);
      return [];
    }
    if (!subfolders) return [root];
    const entries = await readdir(root, { withFileTypes: true });
    const found = entries.filter((entry) => entry.isDirectory()).map((entry) => join(root, entry.name));
    if (found.length === 0) problems.push(`${root} has no subfolders, and --ingest-subdirs asks for them`);
    return found.toSorted();
  } catch (error) {
    problems.push(`${root} cannot be read: ${outageOf(error)}`);
    return [];
  }
}

function newDataset(folder: string, origin_path: string, options: RegisterOptions): NewDataset {
  const { datasetType, projectId, description, prefix, suffix } = options;
  const name = [prefix, basename(folder), suffix]
    .filter((part) => part !== undefined && part !== '')
    .join('-');
  return {
    name: datasetNameOf(name),
    type: datasetType,
    origin_path,
    create_method: 'ON_DEMAND',
    ...(description === undefined ? {} : { description }),
    // In the metadata as well: that is what a catalog without projects keeps and shows.
    ...(projectId === undefined ? {} : { project_id: projectId, metadata: { project_id: projectId } }),
  };
}
