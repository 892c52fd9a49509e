import type { DigestName } from '../../../config/index.ts';
import { LongshoreError } from '../../errors.ts';
import type { Digests } from './digest.ts';
import { DigestPool } from './pool.ts';
import { type ManifestMember, ManifestReader } from '../manifest.ts';
import { shownPath } from '../path.ts';
import { resolveRoot } from '../walk.ts';

export interface MemberDigestOptions {
  readonly manifest: string;
  /** Wanted of every file. */
  readonly names: readonly DigestName[];
  /** A copy of the dataset to compute them from; null: they are in the manifest. */
  readonly root: string | null;
  /** Where the bytes of a member lie below `root`; null leaves it out. Default: files under their own path. */
  readonly place?: (member: ManifestMember) => string | null;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((bytes: number) => void) | undefined;
}

export interface DigestedMember {
  readonly member: ManifestMember;
  readonly digests: Digests;
}

/** Digests that the manifest has of every file. */
export function manifestDigests(manifest: string): readonly DigestName[] {
  const reader = new ManifestReader(manifest);
  reader.close();
  return reader.header.member_digests;
}

const ownPlace = ({ type, path }: ManifestMember): string | null => (type === 'file' ? path : null);

/**
 * The files of a dataset with their digests, in the manifest's order. What is computed is compared with what the
 * manifest has: a digest of bytes that were not archived would only hide the damage.
 *
 * @throws E_VALIDATION naming the files of the copy that differ
 */
export async function* digestMembers(options: MemberDigestOptions): AsyncGenerator<DigestedMember> {
  const place = options.place ?? ownPlace;
  if (options.root !== null) return yield* computed({ ...options, root: options.root, place });
  const reader = new ManifestReader(options.manifest);
  let bytes = 0;
  for (const member of reader.members()) {
    if (place(member) === null) continue;
    const digests: Digests = {};
    for (const name of options.names) digests[name] = known(member, name, options.manifest);
    options.onProgress?.((bytes += member.size));
    yield { member, digests };
  }
}

function known(member: ManifestMember, name: DigestName, path: string): string {
  const digest = member.digests?.[name];
  if (digest !== undefined) return digest;
  const shown = shownPath(member.path);
  throw new LongshoreError('E_BUNDLE_CORRUPT', `the manifest ${path} has no ${name} of "${shown}"`, {
    fields: { path, member: shown, digest: name },
  });
}

interface Waiting {
  readonly member: ManifestMember;
  digests: Digests | null;
}

/** Batches come back from two threads in any order; what waits for its turn is bounded by what the pool takes. */
async function* computed(
  options: MemberDigestOptions & { root: string; place: (member: ManifestMember) => string | null },
): AsyncGenerator<DigestedMember> {
  const { manifest, root, names, place, signal, onProgress } = options;
  const reader = new ManifestReader(manifest);
  const proof = reader.header.member_digests[0];
  const pool = new DigestPool(
    resolveRoot(root),
    [...new Set([...names, ...(proof === undefined ? [] : [proof])])],
    {
      signal,
      onRead: (bytes) => onProgress?.(bytes),
    },
  );
  const problems: [string, string][] = [];
  let waiting: Waiting[] = [];
  const ready = (): DigestedMember[] => {
    const count = waiting.findIndex(({ digests }) => digests === null);
    const done = count === -1 ? waiting : waiting.slice(0, count);
    waiting = count === -1 ? [] : waiting.slice(count);
    return done.map(({ member, digests }) => ({ member, digests: digests ?? {} }));
  };
  try {
    for (const member of reader.members()) {
      const path = place(member);
      if (path === null) continue;
      const one: Waiting = { member, digests: null };
      waiting.push(one);
      await pool.add(path, member.size, (digests) => {
        one.digests = digests;
        const wanted = proof === undefined ? undefined : member.digests?.[proof];
        // A link's line has no digest of what it leads to.
        const wrong = member.type === 'file' && proof !== undefined && digests[proof] !== wanted;
        if (wrong || names.some((name) => digests[name] === undefined))
          problems.push([shownPath(member.path), wrong ? 'checksum mismatch' : 'cannot be read']);
      });
      // What cannot be read is never ready: said here, or all others would wait behind it.
      refuse(root, [...problems, ...unreadable(pool)]);
      if (waiting[0]?.digests === null) continue;
      yield* ready();
    }
    await pool.settle();
    refuse(root, [...problems, ...unreadable(pool)]);
    yield* ready();
  } finally {
    await pool.close();
  }
}

const unreadable = ({ problems }: DigestPool): [string, string][] =>
  problems.map(([path, why]) => [shownPath(path), why]);

function refuse(root: string, problems: readonly [string, string][]): void {
  const [first] = problems;
  if (first === undefined) return;
  throw new LongshoreError(
    'E_VALIDATION',
    `${root} differs from the manifest, first "${first[0]}": ${first[1]}`,
    {
      fields: { path: root, total: problems.length, problems: problems.slice(0, 1000) },
    },
  );
}
