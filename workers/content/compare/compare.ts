import { digestMismatch } from '../digest/digest.ts';
import { DigestPool } from '../digest/pool.ts';
import { type ManifestCounts, type ManifestMember, ManifestReader } from '../manifest.ts';
import { shownPath } from '../path.ts';
import { ENTRIES_PER_TURN, type Member, resolveRoot, walkTree } from '../walk.ts';
import { pairUp } from './pair-up.ts';

export interface CompareOptions {
  /** The staged copy. */
  readonly root: string;
  readonly manifest: string;
  /** `stream`: names, types, sizes and link targets. `readback`: reads and digests every file as well. */
  readonly level: 'stream' | 'readback';
  /**
   * What another modification time of a file means: nothing (default), a difference (an origin that was archived and
   * must not have changed since), or a reason to read and digest that one file (a copy that was touched, or altered).
   */
  readonly times?: 'ignore' | 'report' | 'prove';
  readonly signal?: AbortSignal;
  /** `bytes` of a file that is read count as they are read. */
  onProgress?(progress: { files: number; bytes: number }): void;
}

export interface Comparison {
  /** What the manifest lists; no files are for the caller to refuse. */
  readonly listed: ManifestCounts;
  /** As [path, reason]; at most 1,000 of them. */
  readonly problems: [string, string][];
  readonly num_problems: number;
  /** Of the problems: files that the tree has no more, or has fewer bytes of. */
  readonly num_lost: number;
  readonly first_lost: readonly [path: string, reason: string] | null;
}

const MAX_PROBLEMS = 1000;

/** Compares a tree with its manifest; neither is ever held as a whole. */
export async function compareTree(options: CompareOptions): Promise<Comparison> {
  const base = resolveRoot(options.root);
  const manifest = new ManifestReader(options.manifest);
  const names = manifest.header.member_digests.slice(0, 1);
  const times = options.times ?? 'ignore';
  const reader = (): DigestPool =>
    new DigestPool(base, names, { signal: options.signal, onRead: () => tell() });
  let pool = options.level === 'readback' ? reader() : null;
  const findings = new Findings();
  let files = 0;
  let bytes = 0;
  let entries = 0;
  const tell = (): void => options.onProgress?.({ files, bytes: bytes + (pool?.read ?? 0) });
  try {
    const walk = walkTree(base, {
      ...(options.signal === undefined ? {} : { signal: options.signal }),
      onUnreadable: (path) => findings.add(path, 'cannot be read'),
    });
    for (const [known, found] of pairUp(membersOf(manifest), walk)) {
      findings.compare(known, found);
      if (known !== null && known.type !== 'directory') files += 1;
      if (known?.type === 'file' && found?.type === 'file') {
        const moved = times !== 'ignore' && known.size === found.size && timeDiffers(known, found);
        if (moved && times === 'report') findings.add(known.path, 'has another modification time');
        if (moved && times === 'prove') pool ??= reader();
        if (pool !== null && (moved || options.level === 'readback')) await readBack(pool, known, findings);
        else bytes += found.size;
      }
      if (++entries % ENTRIES_PER_TURN !== 0) continue;
      tell();
      await new Promise(setImmediate);
    }
    await pool?.settle();
    for (const [path, reason] of pool?.problems ?? []) findings.add(path, reason);
    tell();
    const { problems, total: num_problems, lost: num_lost, first_lost } = findings;
    return { listed: manifest.trailer.counts, problems, num_problems, num_lost, first_lost };
  } finally {
    manifest.close();
    await pool?.close();
  }
}

function* membersOf(manifest: ManifestReader): Generator<ManifestMember, void, undefined> {
  for (let member = manifest.next(); member !== null; member = manifest.next()) yield member;
}

class Findings {
  total = 0;
  lost = 0;
  first_lost: readonly [string, string] | null = null;
  readonly problems: [string, string][] = [];

  add(path: string, reason: string): void {
    this.total += 1;
    if (this.problems.length < MAX_PROBLEMS) this.problems.push([shownPath(path), reason]);
  }

  compare(known: ManifestMember | null, found: Member | null): void {
    if (known?.type === 'file') this.#loss(known, found);
    if (known === null) {
      this.add(found?.path ?? '', 'is not in the manifest');
    } else if (found === null) {
      this.add(known.path, known.type === 'directory' ? 'directory does not exist' : 'file does not exist');
    } else if (known.type !== found.type) {
      this.add(known.path, `is a ${found.type}, expected a ${known.type}`);
    } else if (known.type === 'file' && known.size !== found.size) {
      this.add(known.path, `has ${found.size} bytes, expected ${known.size}`);
    } else if (known.type === 'symbolic link' && known.target !== found.target) {
      this.add(
        known.path,
        `leads to "${shownPath(found.target ?? '')}", expected "${shownPath(known.target ?? '')}"`,
      );
    }
  }

  #loss({ path, size }: ManifestMember, found: Member | null): void {
    const left = found?.type === 'file' ? found.size : null;
    if (left !== null && left >= size) return;
    this.lost += 1;
    this.first_lost ??= [shownPath(path), left === null ? 'is gone' : `has ${left} of ${size} bytes`];
  }
}

/** Node sets times as doubles of seconds, so a copy's may be off by a quarter of a microsecond. */
const TIME_TOLERANCE_NS = 1000n;

function timeDiffers(known: ManifestMember, found: Member): boolean {
  const difference = BigInt(known.mtime) - found.mtime_ns;
  return difference > TIME_TOLERANCE_NS || difference < -TIME_TOLERANCE_NS;
}

async function readBack(pool: DigestPool, known: ManifestMember, findings: Findings): Promise<void> {
  await pool.add(known.path, known.size, (digests) => {
    const wanted = Object.entries(known.digests ?? {}).filter(([name]) => digests[name] !== undefined);
    const proven = wanted.length > 0 && digestMismatch(Object.fromEntries(wanted), digests) === null;
    if (!proven) findings.add(known.path, 'checksum mismatch');
  });
}
