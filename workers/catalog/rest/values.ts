/** Between what the API says of a dataset and what we do. */
import type { ApiDatasetPatch } from '../../bioloop/dataset-requests.ts';
import { sizeText } from '../../bioloop/encoding.ts';
import type { ApiDataset } from '../../bioloop/schemas.ts';
import { type ByteSize, byteSize } from '../../dataset/byte-size.ts';
import type { DatasetMetadata, DatasetState, DatasetStateName } from '../../dataset/types.ts';
import { wellFormed, wholeNumber, wholeSize } from '../../sqlite/values.ts';
import type { DatasetPatch } from '../contract.ts';
import type { ToldDataset } from '../mirror.ts';

/**
 * The API can neither remove a bundle nor hold one without an md5. This key of the metadata says that the one it has does
 * not count; what the companion has does.
 */
const NO_BUNDLE = 'bundle_removed';

const sizeOrNull = (size: bigint | null): ByteSize | null => (size === null ? null : byteSize(size));

/** The size of a bundle, which is one of a file. Beyond 2^53 - 1 it is that, and is never written back. */
const sizeSeen = (size: bigint | null): number =>
  Number(size === null || size < BigInt(Number.MAX_SAFE_INTEGER) ? (size ?? 0) : Number.MAX_SAFE_INTEGER);

export function toldDataset(api: ApiDataset): ToldDataset {
  const { bundle } = api;
  return {
    id: api.id,
    name: api.name,
    type: api.type,
    origin_path: api.origin_path ?? '',
    archive_path: api.archive_path,
    staged_path: api.staged_path,
    is_deleted: api.is_deleted,
    is_staged: api.is_staged,
    du_size: sizeOrNull(api.du_size),
    size: sizeOrNull(api.size),
    num_files: api.num_files,
    num_directories: api.num_directories,
    metadata: api.metadata,
    description: api.description,
    create_method: api.create_method,
    created_at: api.created_at ?? EPOCH,
    updated_at: api.updated_at ?? api.created_at ?? EPOCH,
    ...(bundle === null || api.metadata[NO_BUNDLE] === true
      ? {}
      : { bundle: { name: bundle.name, size: sizeSeen(bundle.size), md5: bundle.md5 } }),
    ...(api.states === undefined ? {} : { states: api.states.map(stateOf) }),
  };
}

/** A date that cannot be read sorts before all that can. */
const EPOCH = new Date(0).toISOString();

const stateOf = ({
  state,
  timestamp,
  metadata,
}: NonNullable<ApiDataset['states']>[number]): DatasetState => ({
  state: state as DatasetStateName,
  timestamp: timestamp ?? EPOCH,
  metadata,
});

/**
 * The patch as the API takes it, and as the companion does while the API is away.
 *
 * @throws E_VALUE, E_NAME_UNSAFE what could not be recorded exactly
 */
export function patchSent(
  { bundle, metadata, ...columns }: DatasetPatch,
  before: DatasetMetadata,
): { sent: ApiDatasetPatch; kept: DatasetPatch } {
  const sent: ApiDatasetPatch = {};
  for (const [name, value] of Object.entries(columns)) {
    if (value === undefined) continue;
    if (typeof value === 'string') wellFormed(name, value);
    if (typeof value === 'number' || typeof value === 'bigint') wholeSize(name, value);
    // The spool keeps it as JSON.
    Object.assign(sent, { [name]: typeof value === 'bigint' ? sizeText(value) : value });
  }
  if (bundle) {
    wholeNumber('bundle.size', bundle.size);
    if (bundle.md5 !== null) sent.bundle = { name: bundle.name, size: bundle.size, md5: bundle.md5 };
  }
  const hidden = bundle === undefined ? before[NO_BUNDLE] === true : sent.bundle === undefined;
  const changed = hidden !== (before[NO_BUNDLE] === true) ? { [NO_BUNDLE]: hidden ? true : null } : {};
  const merged = { ...metadata, ...changed };
  if (Object.keys(merged).length > 0) sent.metadata = merged;
  return {
    sent,
    kept: {
      ...columns,
      ...(sent.metadata === undefined ? {} : { metadata: merged }),
      ...(bundle === undefined ? {} : { bundle }),
    },
  };
}
