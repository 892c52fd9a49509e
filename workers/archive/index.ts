import type { Config } from '../../config/index.ts';
import { pathsOf } from '../../config/of.ts';
import { LongshoreError } from '../errors.ts';
import type { Archive } from './contract.ts';
import { createFilesystemArchive } from './filesystem.ts';
import { createRcloneArchive } from './rclone.ts';
import { createS3Archive, type S3Options } from './s3/s3.ts';
import { createSdaArchive } from './sda.ts';
import type { FetchPlace } from './shared-fetch.ts';

export type { Archive, ArchivedObject, LocalPut } from './contract.ts';

type BackEnd = Config['archive']['backends'][string];
type Kind = BackEnd['kind'];
type Factory<K extends Kind> = (
  config: Config,
  name: string,
  options: Extract<BackEnd, { kind: K }>,
) => Archive;

const FACTORIES: { readonly [K in Kind]: Factory<K> } = {
  filesystem: (config, name, { root = '', mark, answer_seconds }) =>
    createFilesystemArchive({
      name,
      root,
      roots: root === '' ? rootsOf(config) : [root],
      state_dir: config.state_dir,
      mark,
      answer_seconds,
    }),
  sda: (config, name, { root = '', ...options }) =>
    createSdaArchive({ ...options, name, root, ...fetchPlace(config) }),
  s3: (config, name, { access_key_id, secret_access_key, ...options }) =>
    createS3Archive({
      ...options,
      name,
      state_dir: config.state_dir,
      credentials: credentialsOf(name, access_key_id, secret_access_key),
    }),
  rclone: (config, name, options) => createRcloneArchive({ ...options, name, state_dir: config.state_dir }),
};

/** Where bundles are fetched that an archive gives only as a whole. */
export const fetchPlace = (config: Config): FetchPlace => ({
  scratch: config.paths.scratch,
  state_dir: config.state_dir,
  keep: config.stage.reserve_bytes,
});

/** Half of a pair is a mistake: the SDK would look for other credentials, and might find them. */
function credentialsOf(name: string, id: string | null, secret: string | null): S3Options['credentials'] {
  if (id !== null && secret !== null) return { accessKeyId: id, secretAccessKey: secret };
  if (id === null && secret === null) return null;
  const absent = id === null ? 'access_key_id' : 'secret_access_key';
  throw new LongshoreError('E_CONFIG', `archive.backends.${name}.${absent}: missing; set both keys or none`);
}

/** The archive of that name in `config.archive.backends`. @throws E_CONFIG */
export function openArchive(config: Config, name: string): Archive {
  const options = config.archive.backends[name];
  if (options !== undefined) return (FACTORIES[options.kind] as Factory<Kind>)(config, name, options);
  throw new LongshoreError('E_CONFIG', `archive.backends.${name}: missing; a bundle is recorded there`, {
    fields: { archive: name, known: Object.keys(config.archive.backends) },
    hint: `Name it again in config/, as it was. If it is gone for good: npx longshore write-off ${name}.`,
  });
}

/** The archives that hold a copy of every bundle of this type, the one that is read first. */
export const archivesOf = (config: Config, type: string): Archive[] =>
  archiveNamesOf(config, type).map((name) => openArchive(config, name));

export const archiveNamesOf = (config: Config, type: string): readonly string[] =>
  config.archive.types[type] ?? config.archive.copies;

/** Where the folders of dataset types are mounted, for a file-system archive without a root of its own. */
export const rootsOf = (config: Config): string[] => [
  ...new Set(config.dataset_types.map((type) => rootOf(pathsOf(config, type).archive))),
];

/** What stands before `{year}` is the root that a file system is mounted at. */
function rootOf(archive: string): string {
  const before = archive.split('{year}')[0] ?? archive;
  return before.replace(/\/+$/, '');
}
