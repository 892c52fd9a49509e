/** Whether all that the browser sent has arrived as it was sent. */
import { z } from 'zod';
import { LongshoreError } from '../errors.ts';
import type { UploadLog } from './contract.ts';
import { notIntact } from './failure.ts';
import { type Counted, type HashOptions, payloadHash } from './manifest-hash.ts';
import { payloadFiles } from './payload.ts';
import { checkSizes } from './size-manifest.ts';

export interface Verified extends Counted {
  /** What was compared: the digests of all files, their paths and sizes, or only that there are any. */
  readonly by: 'manifest hash' | 'size manifest' | 'existence';
  /** Why it is not as good as could be; null when it is. */
  readonly warning: string | null;
}

const checksum = z.looseObject({
  manifest_hash: z.string().nullish(),
  skipped: z.boolean().nullish(),
  skipped_reason: z.string().nullish(),
});

/**
 * By the best of what the browser has left:
 *
 * | metadata                 | what must hold                                                      |
 * | ------------------------ | ------------------------------------------------------------------- |
 * | `checksum.manifest_hash` | the hash over paths, sizes and digests of all files is the same     |
 * | `size_manifest`          | paths, sizes and counts are the same, and nothing else is there     |
 * | neither                  | there is at least one file                                          |
 *
 * `checksum.skipped` says that the browser gave up on the first; that is a warning.
 * @throws E_ORIGIN_MISSING, E_UPLOAD_INTEGRITY, E_INSPECTION, E_SOURCE_CHANGED
 */
export async function verifyUpload(
  { dataset, metadata }: Pick<UploadLog, 'dataset' | 'metadata'>,
  options: HashOptions = {},
): Promise<Verified> {
  const root = dataset.origin_path;
  if (root === null || root === '')
    throw new LongshoreError(
      'E_ORIGIN_MISSING',
      `dataset ${dataset.id} (${dataset.name}) has no origin path`,
      {
        fields: { dataset_id: dataset.id },
      },
    );
  const { manifest_hash, skipped, skipped_reason } = checksum.safeParse(metadata.checksum ?? {}).data ?? {};
  if (typeof manifest_hash === 'string' && manifest_hash !== '')
    return { ...(await compareHash(root, manifest_hash, options)), by: 'manifest hash', warning: null };
  const why = skipped_reason == null ? '' : ` (${skipped_reason})`;
  const warning =
    skipped === true ? `the browser computed no digests${why}; contents are not compared` : null;
  if (metadata.size_manifest != null) {
    const counted = await checkSizes(root, metadata.size_manifest, options.signal);
    return { ...counted, by: 'size manifest', warning };
  }
  return { ...countFiles(root, options.signal), by: 'existence', warning };
}

async function compareHash(root: string, expected: string, options: HashOptions): Promise<Counted> {
  const { hash, files, bytes } = await payloadHash(root, options);
  if (files === 0) throw noFiles(root);
  if (hash === expected.toLowerCase()) return { files, bytes };
  throw notIntact(
    `Manifest hash mismatch: ${files} files of ${bytes} bytes below ${root} give ${hash}, the browser sent ${expected}`,
    { hash, expected, files, bytes },
  );
}

function countFiles(root: string, signal?: AbortSignal): Counted {
  const counted = { files: 0, bytes: 0 };
  for (const { size } of payloadFiles(root, signal)) {
    counted.files += 1;
    counted.bytes += size;
  }
  if (counted.files === 0) throw noFiles(root);
  return counted;
}

const noFiles = (root: string): Error => notIntact(`No files found below ${root}`, { origin_path: root });
