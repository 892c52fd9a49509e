/** The manifest of an archived dataset as text, streamed: a million members are never held as a whole. */
import { createReadStream } from 'node:fs';
import type { DigestName } from '../../config/index.ts';
import { checksumLine } from '../../workers/content/digest/checksum-lines.ts';
import { type ManifestTrailer, readManifest } from '../../workers/content/manifest.ts';
import { digestMembers, manifestDigests } from '../../workers/content/digest/member-digests.ts';
import type { Dataset } from '../../workers/dataset/types.ts';
import { LongshoreError } from '../../workers/errors.ts';
import type { Output } from './output.ts';

/** Small writes cost more than the bytes. */
const CHUNK_CHARS = 64 * 1024;

/** As it is stored. */
export async function writeStored(path: string, output: Output): Promise<void> {
  for await (const chunk of createReadStream(path, { highWaterMark: 256 * 1024 }))
    await output.write(chunk as Buffer);
}

/** One JSON document: the dataset, its bundle, the counts, and all members. */
export async function writeDocument(
  dataset: Dataset,
  manifest: { path: string; trailer: ManifestTrailer; archive: string; key: string },
  output: Output,
): Promise<void> {
  const { id, name, type, origin_path, description } = dataset;
  const { bundle, counts } = manifest.trailer;
  const head = {
    dataset: { id, name, type, origin_path, description },
    bundle: { archive: manifest.archive, key: manifest.key, ...bundle },
    counts,
    member_digests: manifestDigests(manifest.path),
  };
  let text = `${JSON.stringify(head, null, 2).slice(0, -2)},\n  "members": [`;
  let separator = '\n    ';
  for (const member of readManifest(manifest.path)) {
    text += separator + JSON.stringify(member);
    separator = ',\n    ';
    if (text.length < CHUNK_CHARS) continue;
    await output.write(text);
    text = '';
  }
  await output.write(`${text}\n  ]\n}\n`);
}

/** Lines for md5sum, sha256sum or b3sum `-c`, run inside the staged folder. */
export async function writeChecksums(
  options: {
    readonly manifest: string;
    readonly digest: DigestName;
    /** To read the files of where the manifest lacks the digest; null: it is not staged. */
    readonly staged: string | null;
    readonly dataset: Dataset;
    readonly signal?: AbortSignal | undefined;
    readonly onProgress?: ((bytes: number) => void) | undefined;
  },
  output: Output,
): Promise<void> {
  const { manifest, digest, staged, signal, onProgress } = options;
  const there = manifestDigests(manifest).includes(digest);
  if (!there && staged === null) throw notThere(options.dataset, digest, manifestDigests(manifest));
  const root = there ? null : staged;
  let lines: Buffer[] = [];
  let size = 0;
  const flush = async (): Promise<void> => {
    await output.write(Buffer.concat(lines));
    lines = [];
    size = 0;
  };
  const progress = there ? {} : { onProgress };
  for await (const { member, digests } of digestMembers({
    manifest,
    names: [digest],
    root,
    signal,
    ...progress,
  })) {
    const line = checksumLine(digests[digest] ?? '', member.path);
    lines.push(line);
    size += line.length;
    if (size >= CHUNK_CHARS) await flush();
  }
  await flush();
}

function notThere({ id, name }: Dataset, digest: DigestName, known: readonly DigestName[]): LongshoreError {
  const formats = known.map((one) => `--format ${one === 'blake3' ? 'b3sum' : `${one}sum`}`).join(' or ');
  return new LongshoreError(
    'E_WORKFLOW_STATE',
    `the manifest of dataset ${id} (${name}) has no ${digest}, only ${known.join(' and ')}, and no staged copy is there to compute it from`,
    {
      fields: { dataset_id: id, wanted: digest, known },
      hint: `Stage it first (longshore stage ${id}), or ask for ${formats}.`,
    },
  );
}
