/** The hash by which the browser names all that it sends (spec 4.3). */
import { createHasher } from '../content/digest/digest.ts';
import { DigestPool } from '../content/digest/pool.ts';
import { encodePath, shownPath } from '../content/path.ts';
import { resolveRoot } from '../content/walk.ts';
import { LongshoreError } from '../errors.ts';
import { type PayloadFile, payloadFiles } from './payload.ts';

export interface Counted {
  files: number;
  bytes: number;
}

export interface HashOptions {
  readonly signal?: AbortSignal;
  /** Told twice a second what has been read so far; `files` are those that have their digest. */
  onProgress?(done: Readonly<Counted>): void;
}

export interface PayloadHash extends Counted {
  /** Hex. */
  readonly hash: string;
}

const HEADER = 'blake3-manifest-v1';
/** Lines that wait for digests which come out of turn; the only part of the tree that is held. */
const HELD = 10_000;

/**
 * BLAKE3 of the text that begins with `blake3-manifest-v1` and has a line `path TAB size TAB BLAKE3` for each file, with
 * newlines between the lines and none at the end.
 * @throws E_ORIGIN_MISSING, E_UPLOAD_INTEGRITY, E_SOURCE_CHANGED, E_INSPECTION a file cannot be read
 */
export async function payloadHash(root: string, options: HashOptions = {}): Promise<PayloadHash> {
  const base = resolveRoot(root);
  const text = createHasher(['blake3']);
  text.update(Buffer.from(HEADER));
  const done: Counted = { files: 0, bytes: 0 };
  const pool = new DigestPool(base, ['blake3'], {
    signal: options.signal,
    onRead: (bytes) => options.onProgress?.({ ...done, bytes }),
  });
  let held: { file: PayloadFile; digest: string | undefined }[] = [];
  const flush = async (): Promise<void> => {
    await pool.settle();
    const [unreadable] = pool.problems;
    if (unreadable !== undefined) throw cannotBeRead(...unreadable);
    for (const { file, digest } of held) {
      if (digest === undefined) throw cannotBeRead(file.path, 'permission denied');
      text.update(encodePath(`\n${file.path}\t${file.size}\t${digest}`));
    }
    held = [];
  };
  try {
    for (const file of payloadFiles(base, options.signal)) {
      const line: (typeof held)[number] = { file, digest: undefined };
      held.push(line);
      await pool.add(file.path, file.size, ({ blake3 }) => {
        line.digest = blake3;
        done.files += 1;
        done.bytes += file.size;
      });
      if (held.length >= HELD) await flush();
    }
    await flush();
  } finally {
    await pool.close();
  }
  return { hash: text.digests().blake3 ?? '', ...done };
}

const cannotBeRead = (path: string, reason: string): LongshoreError =>
  new LongshoreError('E_INSPECTION', `"${shownPath(path)}" of the upload cannot be read: ${reason}`, {
    fields: { total: 1, problems: [[shownPath(path), reason]] },
  });
