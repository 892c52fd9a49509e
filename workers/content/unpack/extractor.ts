import { closeSync } from 'node:fs';
import { dirname } from 'node:path';
import type { DigestName } from '../../../config/index.ts';
import { isLongshoreError, LongshoreError } from '../../errors.ts';
import {
  createHasher,
  digestMismatch,
  type Digests,
  digestOf,
  feedZeros,
  type Hasher,
} from '../digest/digest.ts';
import { HeaderLog } from './kept-headers.ts';
import type { KeptFile } from './kept-file.ts';
import { type ManifestMember, ManifestReader, type ManifestTrailer } from '../manifest.ts';
import { containedPath, leadsOut, linkEscapes, shownPath, toldPath, unsafe } from '../path.ts';
import { type Counters, createCounters, openConsumer, type RingMemory } from '../ring.ts';
import { corrupt, MEMBER_TYPES } from '../tar/header.ts';
import { type TarMember, TarMembers } from '../tar/members.ts';
import { TarSource } from '../tar/source.ts';
import { serveThread } from '../threads.ts';
import { secondsOf } from '../times.ts';
import { TreeWriter } from './tree-writer.ts';

interface Data {
  readonly target: string;
  readonly manifest: string | null;
  readonly verify: 'bundle' | 'member' | null;
  readonly bundle_size: number;
  /** `target` may hold what an earlier attempt at this very bundle has written. */
  readonly adopt: boolean;
  /** Note the bundle's headers for the next attempt. */
  readonly headers: boolean;
  /** A later member of a name takes the place of the earlier one; else it is refused. */
  readonly replace: boolean;
  /** That all files together may have; null: the manifest says what each has. */
  readonly max_bytes: number | null;
}

export interface Extracted {
  readonly num_files: number;
  readonly num_directories: number;
  readonly bytes: number;
  /** Directory below the target that all members share, `.` for none. */
  readonly common: string;
  readonly trailer: ManifestTrailer | null;
  readonly warnings: readonly string[];
}

/** The second thread of unpacking: takes the tar apart as it comes out of the ring. */
function extract(data: Data, ring: RingMemory): Extracted {
  const progress = createCounters(ring);
  const headers = data.headers ? new HeaderLog(data.target) : null;
  const source = new TarSource(openConsumer(ring), (bytes) => progress.add(bytes, 0), headers);
  const extractor = new Extractor(data, { source, headers, progress });
  try {
    return extractor.run();
  } catch (error) {
    // The bundle's digest says more than a strange member does: let the other thread finish it. What is damaged where
    // something was kept is begun anew in any case.
    const { code } = isLongshoreError(error) ? error : { code: '' };
    if (code.startsWith('E_BUNDLE') && !(data.adopt && code === 'E_BUNDLE_CORRUPT')) source.drain();
    throw error;
  } finally {
    extractor.close();
    headers?.close();
  }
}

class Extractor {
  readonly #data: Data;
  readonly #source: TarSource;
  readonly #tree: TreeWriter;
  readonly #manifest: ManifestReader | null;
  readonly #digests: readonly DigestName[];
  readonly #headers: HeaderLog | null;
  readonly #progress: Counters;
  #counts = { num_files: 0, num_directories: 0, bytes: 0 };
  #common: string | null = null;

  constructor(
    data: Data,
    { source, headers, progress }: { source: TarSource; headers: HeaderLog | null; progress: Counters },
  ) {
    this.#data = data;
    this.#source = source;
    this.#headers = headers;
    this.#manifest = data.manifest === null ? null : new ManifestReader(data.manifest);
    this.#tree = new TreeWriter(data.target, data);
    this.#progress = progress;
    // One digest proves a member; the others in the manifest are for those who ask by them.
    const names = this.#manifest?.header.member_digests.slice(0, 1) ?? [];
    const verify = data.verify ?? (names[0] === 'blake3' ? 'member' : 'bundle');
    this.#digests = verify === 'member' ? names : [];
  }

  run(): Extracted {
    const members = new TarMembers(this.#source);
    for (let member = members.next(); member !== null; member = members.next()) {
      const path = containedPath(member.name);
      const known = this.#expected(path, member);
      this.#headers?.reached(this.#source.offset, this.#source.offset + member.stored);
      this.#member(path, member, known);
      members.finish(member);
      this.#progress.add(0, 1);
    }
    this.#source.drain();
    const absent = this.#manifest?.next() ?? null;
    if (absent !== null) throw differs(absent.path, 'in the bundle', 'a member', 'missing');
    // Nobody archives nothing; zeros are what a failed disk or a lost end of a file looks like.
    if (this.#common === null) throw corrupt(0, 'the first member', 'a member', 'the end mark');
    const failure = this.#tree.complete(() => undefined, this.#manifest === null ? this.#common : null);
    const trailer = this.#manifest?.trailer ?? null;
    // The manifest knows which links led to directories; those count as such.
    const { replaced } = this.#tree;
    const found = { ...this.#counts, num_files: this.#counts.num_files - replaced.members };
    const { num_files, num_directories } = trailer?.counts ?? found;
    const bytes = this.#counts.bytes - replaced.bytes;
    const warnings = failure === null ? [] : [failure];
    if (replaced.members > 0) warnings.push(`${replaced.members} members were replaced by later ones`);
    return { num_files, num_directories, bytes, common: this.#common ?? '.', trailer, warnings };
  }

  close(): void {
    this.#manifest?.close();
    this.#tree.close();
  }

  /** The manifest's line for this member, compared in all that the tar header knows. */
  #expected(path: string, member: TarMember): ManifestMember | null {
    if (this.#manifest === null) return null;
    const known = this.#manifest.next();
    if (known === null) throw differs(path, 'in the manifest', 'no further member', 'a member');
    if (known.path !== path) throw differs(path, 'name', shownPath(known.path), toldPath(path));
    const type = MEMBER_TYPES[member.type] ?? member.type;
    const wanted = known.hard_link === undefined ? known.type : 'hard link';
    if (wanted !== type) throw differs(path, 'type', wanted, type);
    if (known.hard_link !== undefined) {
      const link = containedPath(member.link);
      if (link !== known.hard_link)
        throw differs(path, 'link target', shownPath(known.hard_link), toldPath(link));
    } else if (known.type === 'file') {
      if (known.size !== member.size) throw differs(path, 'size', String(known.size), String(member.size));
      if (known.offset !== member.offset)
        throw differs(path, 'place', String(known.offset), String(member.offset));
    }
    if (known.type === 'symbolic link' && known.target !== member.link) {
      throw differs(path, 'link target', shownPath(known.target ?? ''), toldPath(member.link));
    }
    return known;
  }

  #member(path: string, member: TarMember, known: ManifestMember | null): void {
    const mtime = known === null ? member.mtime : secondsOf(known.mtime);
    const xattrs = known === null ? member.xattrs : (known.xattrs ?? null);
    switch (MEMBER_TYPES[member.type]) {
      case 'directory':
        this.#share(path);
        this.#tree.directory(path, member.mode, mtime);
        this.#tree.xattrs(path, xattrs);
        if (path !== '.') this.#counts.num_directories += 1;
        return;
      case 'file':
        this.#share(dirname(path));
        this.#file(path, member, mtime, known);
        this.#tree.xattrs(path, xattrs);
        break;
      case 'symbolic link':
        this.#share(dirname(path));
        // Our own manifest proves that the dataset holds exactly this link; nothing is ever written through it. Others are
        // looked at again when it is known where the dataset begins.
        if (known === null && linkEscapes(path, member.link)) throw leadsOut(path, member.link);
        this.#tree.symbolicLink(path, member.link, mtime);
        break;
      case 'hard link':
        this.#share(dirname(path));
        this.#tree.hardLink(path, containedPath(member.link));
        break;
      default:
        throw unsafe(path, `is of type ${JSON.stringify(member.type)}, neither file, directory nor link`);
    }
    this.#counts.num_files += 1;
  }

  #file(path: string, member: TarMember, mtime: number, known: ManifestMember | null): void {
    if (path === '.') throw unsafe(path, 'is a file in place of the dataset');
    if (member.stored > this.#data.bundle_size) {
      throw differs(path, 'size', `at most ${this.#data.bundle_size}`, String(member.stored));
    }
    const { max_bytes } = this.#data;
    if (max_bytes !== null && this.#counts.bytes + member.size > max_bytes)
      throw unsafe(path, `makes the dataset larger than the ${max_bytes} bytes that it may have`);
    const { fd, kept } = this.#tree.resume(path, member.mode);
    const file: Target = { fd, path, kept };
    let open = true;
    try {
      const digests = member.extents === null ? this.#whole(file, member.size) : this.#parts(file, member);
      this.#tree.finish(fd, mtime, member.extents === null && kept === null ? null : member.size);
      open = false;
      if (known !== null) this.#prove(path, known, digests);
    } finally {
      if (open) closeSync(fd);
    }
    this.#counts.bytes += member.size;
  }

  #whole(file: Target, size: number): Digests {
    if (size === 0) return digestOf(this.#digests, Buffer.alloc(0));
    const first = this.#source.some(size);
    this.#write(file, first, 0);
    if (first.length === size) return digestOf(this.#digests, first);
    const hasher = createHasher(this.#digests);
    hasher.update(first);
    this.#run(file, first.length, size - first.length, hasher);
    return hasher.digests();
  }

  #parts(file: Target, member: TarMember): Digests {
    const hasher = createHasher(this.#digests);
    let at = 0;
    for (const { offset, length } of member.extents ?? []) {
      this.#hole(file, at, offset, hasher);
      this.#run(file, offset, length, hasher);
      at = offset + length;
    }
    this.#hole(file, at, member.size, hasher);
    return hasher.digests();
  }

  #hole({ kept }: Target, start: number, end: number, hasher: Hasher): void {
    kept?.hole(start, end);
    if (this.#digests.length > 0) feedZeros(hasher, end - start);
  }

  #run(file: Target, position: number, length: number, hasher: Hasher): void {
    for (let done = 0; done < length; ) {
      const bytes = this.#source.some(length - done);
      this.#write(file, bytes, position + done);
      hasher.update(bytes);
      done += bytes.length;
    }
  }

  /** Only what is not there yet. */
  #write({ fd, path, kept }: Target, bytes: Buffer, position: number): void {
    const there = kept?.matching(bytes, position) ?? 0;
    if (there < bytes.length) this.#tree.write(fd, path, bytes.subarray(there), position + there);
  }

  #prove(path: string, known: ManifestMember, digests: Digests): void {
    const wanted: Digests = {};
    for (const name of this.#digests) wanted[name] = known.digests?.[name] ?? '';
    const wrong = digestMismatch(wanted, digests);
    if (wrong !== null) throw differs(path, wrong.digest, wrong.expected, String(wrong.actual));
  }

  /** Narrows the directory that all members share, by whole names: `d/a1` and `d/a2` share `d`, not `d/a`. */
  #share(directory: string): void {
    if (this.#common === null) this.#common = directory;
    while (this.#common !== '.' && directory !== this.#common && !directory.startsWith(`${this.#common}/`)) {
      this.#common = dirname(this.#common);
    }
  }
}

interface Target {
  readonly fd: number;
  readonly path: string;
  readonly kept: KeptFile | null;
}

function differs(path: string, what: string, expected: string, actual: string): LongshoreError {
  const member = toldPath(path);
  return new LongshoreError(
    'E_BUNDLE_CORRUPT',
    `member "${member}" of the bundle: ${what} is ${actual}, expected ${expected}`,
    { fields: { member, what, expected, actual } },
  );
}

await serveThread((data, ring) => extract(data as Data, ring));
