import { type Config, pathsOf } from '../../config/index.ts';
import type { Archive } from './contract.ts';
import { createFilesystemArchive } from './filesystem.ts';

export type { Archive, ArchivedBundle, ArchivePut, OpenBundle } from './contract.ts';

const BACK_ENDS: Readonly<Record<Config['archive']['backend'], (config: Config) => Archive>> = {
  filesystem: (config) => createFilesystemArchive({ roots: rootsOf(config), state_dir: config.state_dir }),
};

/** The archive that `config.archive.backend` names. */
export const openArchive = (config: Config): Archive => BACK_ENDS[config.archive.backend](config);

const rootsOf = (config: Config): string[] => [
  ...new Set(config.dataset_types.map((type) => rootOf(pathsOf(config, type).archive))),
];

/** What stands before `{year}` is the root that a file system is mounted at. */
function rootOf(archive: string): string {
  const before = archive.split('{year}')[0] ?? archive;
  return before.replace(/\/+$/, '');
}
