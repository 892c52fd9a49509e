/** Reads a staged copy again, every file, against what was archived. */
import { openManifest } from '../../workers/archive/bundles.ts';
import { openArchive } from '../../workers/archive/index.ts';
import { compareTree } from '../../workers/content/compare/compare.ts';
import { compareRows } from '../../workers/content/compare/rows.ts';
import type { Dataset, Proof } from '../../workers/dataset/types.ts';
import type { Session } from '../cli/session.ts';

export interface StagedProof {
  readonly path: string;
  readonly result: 'ok' | 'mismatch';
  readonly files: number;
  readonly problems: readonly [path: string, reason: string][];
  readonly num_problems: number;
}

/** File rows read from the catalog at once. */
const PAGE = 10_000;

/** By the manifest of a copy that was just proven, else by the catalog's rows. Null: nothing is staged. */
export async function proveStaged(
  { config, store: { catalog } }: Session,
  dataset: Dataset,
  proofs: readonly Proof[],
  reading: { signal: AbortSignal; onProgress: (bytes: number) => void },
): Promise<StagedProof | null> {
  const { id, is_staged, staged_path } = dataset;
  if (!is_staged || staged_path === null) return null;
  const { signal, onProgress } = reading;
  const source = proofs.find(({ result, details }) => result === 'ok' && details.manifest === true);
  const manifest =
    source === undefined
      ? null
      : await openManifest(openArchive(config, source.archive), source.key, {
          scratch: config.paths.scratch,
          signal,
        });
  let files = 0;
  const count = (done: { files: number; bytes: number }): void => {
    files = done.files;
    onProgress(done.bytes);
  };
  try {
    const { problems, num_problems } =
      manifest === null
        ? await compareRows({
            root: staged_path,
            page: (after) => catalog.files(id, { limit: PAGE, ...(after === null ? {} : { after }) }),
            signal,
            onProgress: count,
          })
        : await compareTree({
            root: staged_path,
            manifest: manifest.path,
            level: 'readback',
            signal,
            onProgress: count,
          });
    return {
      path: staged_path,
      result: num_problems === 0 ? 'ok' : 'mismatch',
      files,
      problems,
      num_problems,
    };
  } finally {
    manifest?.close();
  }
}
