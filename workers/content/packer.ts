import { isUtf8 } from 'node:buffer';
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import type { DigestName } from '../../config/index.ts';
import { LongshoreError } from '../errors.ts';
import type { OpenMember, PaxTimes } from './checkpoint.ts';
import { createHasher, type Digests, digestOf, feedZeros, type Hasher } from './digest.ts';
import { reading } from './files.ts';
import { changed, type HardLinks } from './hard-links.ts';
import type { ManifestMember } from './manifest.ts';
import { identityOf, type Marker, stale } from './pack-kept.ts';
import { encodePath, fsPath, shownPath } from './path.ts';
import type { Counters, RingProducer } from './ring.ts';
import { BLOCK, nameBytes, TYPE } from './tar/header.ts';
import { paxRecord } from './tar/pax.ts';
import { encodeSparseMap, type Extent, findExtents } from './tar/sparse.ts';
import type { TarStream } from './tar/stream.ts';
import { absolutePath, isVanished, leadsToDirectory, type Member, vanished } from './walk.ts';

/** From this size on a file's time is in the bundle to the nanosecond: of smaller ones the KiB is a larger part. */
const EXACT_TIME_BYTES = 64 * 1024;
/** Files up to this size are read in one call into one slot and digested in one call. */
const SMALL_BYTES = 128 * 1024;

interface Packing {
  readonly base: string;
  readonly tar: TarStream;
  readonly ring: RingProducer;
  readonly digests: readonly DigestName[];
  /** Bytes are counted as they are read, not file by file: a person watches a file of 4 GiB for a while. */
  readonly progress: Counters;
  readonly marker: Marker;
  readonly links: HardLinks;
  readonly pax_times: PaxTimes;
}

/** Puts members into the tar: each byte of a file is read once, straight into the ring, and digested there. */
export class Packer {
  readonly tar: TarStream;
  readonly #base: string;
  readonly #ring: RingProducer;
  readonly #digests: readonly DigestName[];
  readonly #progress: Counters;
  readonly #marker: Marker;
  readonly #links: HardLinks;
  readonly #pax_times: PaxTimes;

  constructor({ base, tar, ring, digests, progress, marker, links, pax_times }: Packing) {
    this.#pax_times = pax_times;
    this.#links = links;
    this.#marker = marker;
    this.#base = base;
    this.tar = tar;
    this.#ring = ring;
    this.#digests = digests;
    this.#progress = progress;
  }

  /**
   * @param begun what an earlier attempt has packed of this member
   * @param records that its header is to bring
   */
  pack(member: Member, begun: Begun | null, records: readonly Buffer[]): ManifestMember {
    // Nothing here could tell it from one that is a byte shorter.
    if (!Number.isSafeInteger(member.size)) refuse(member.path, 'is larger than 2^53 - 1 bytes');
    if (member.type === 'file') return this.#file(member, begun, records);
    if (member.type === 'directory') {
      this.tar.header({ ...this.#fields(member), type: TYPE.directory, size: 0 }, records);
      return { ...described(member), type: 'directory', size: 0 };
    }
    if (member.type === 'symbolic link') return this.#link(member);
    return refuse(member.path, 'is neither file, directory nor symbolic link');
  }

  #fields(member: Member) {
    return {
      name: nameBytes(member.path, member.type === 'directory'),
      mode: member.mode,
      uid: member.uid,
      gid: member.gid,
      mtime_ns: member.mtime_ns,
      exact_time: this.#pax_times === 'all' || (member.type === 'file' && member.size >= EXACT_TIME_BYTES),
    };
  }

  #link(member: Member): ManifestMember {
    const target = member.target ?? '';
    this.tar.header({ ...this.#fields(member), type: TYPE.symbolicLink, size: 0, link: encodePath(target) });
    const manifest: ManifestMember = {
      ...described(member),
      type: 'symbolic link',
      size: member.size,
      target,
    };
    return leadsToDirectory(this.#base, member.path) ? { ...manifest, to_directory: true } : manifest;
  }

  #file(member: Member, begun: Begun | null, records: readonly Buffer[]): ManifestMember {
    const first = begun === null ? this.#links.firstOf(member) : null;
    if (first !== null) return this.#hardLink(member, first);
    const packed = this.#data(member, begun, records);
    this.#links.note(member, packed);
    return packed;
  }

  /** A name more of a file that is in the bundle. No data of its own, all else as if it had. */
  #hardLink(member: Member, first: ManifestMember): ManifestMember {
    const link = encodePath(`./${first.path}`);
    this.tar.header({ ...this.#fields(member), type: TYPE.hardLink, size: 0, link });
    const { size, digests, offset, sparse } = first;
    const content = { size, digests, offset, ...(sparse === undefined ? {} : { sparse }) };
    return { ...described(member), type: 'file', ...content, hard_link: first.path };
  }

  #data(member: Member, begun: Begun | null, records: readonly Buffer[]): ManifestMember {
    const fd = this.#open(member);
    try {
      return reading(absolutePath(this.#base, member.path), () => this.#content(fd, member, begun, records));
    } finally {
      closeSync(fd);
    }
  }

  #content(fd: number, member: Member, begun: Begun | null, records: readonly Buffer[]): ManifestMember {
    const sparse = begun === null && member.blocks * 512 < member.size;
    const extents = sparse ? findExtents(fd, member.size, () => this.#ring.check()) : null;
    const stored =
      begun !== null
        ? this.#rest(fd, member, begun)
        : extents === null
          ? this.#whole(fd, member, records)
          : this.#parts(fd, member, extents, records);
    unchanged(fd, member);
    return { ...described(member), type: 'file', size: member.size, ...stored };
  }

  #open(member: Member): number {
    const path = absolutePath(this.#base, member.path);
    try {
      // O_NOFOLLOW, O_NONBLOCK: the entry may have become a link or a FIFO since the walk looked at it.
      return openSync(fsPath(path), constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    } catch (error) {
      if (isVanished(error)) throw vanished(member.path);
      if ((error as NodeJS.ErrnoException).code === 'ELOOP') throw changed(member.path, 'became a link');
      if (['EACCES', 'EPERM'].includes((error as NodeJS.ErrnoException).code ?? '')) {
        refuse(member.path, 'cannot be read');
      }
      throw error;
    }
  }

  #whole(fd: number, member: Member, records: readonly Buffer[]): { digests: Digests; offset: number } {
    this.tar.header({ ...this.#fields(member), type: TYPE.file, size: member.size }, records);
    const { size } = member;
    if (size <= SMALL_BYTES) this.tar.contiguous(size);
    const offset = this.tar.offset;
    let digests: Digests;
    if (size <= SMALL_BYTES) {
      const into = this.tar.room(size);
      readFully(fd, into, size, member.path, null);
      digests = digestOf(this.#digests, into);
      this.tar.advance(size);
      this.#progress.add(size, 0);
    } else {
      const hasher = createHasher(this.#digests);
      const open = { ...identityOf(member), data_offset: offset };
      this.#copy(fd, { offset: 0, length: size }, member.path, hasher, open);
      digests = hasher.digests();
    }
    this.tar.pad();
    return { digests, offset };
  }

  /** A file whose beginning is in the bundle: its digests begin with those bytes, its reading goes on behind them. */
  #rest(fd: number, member: Member, { open, target }: Begun): { digests: Digests; offset: number } {
    const hasher = createHasher(this.#digests);
    const done = this.tar.offset - open.data_offset;
    const bundle = openSync(target, 'r');
    try {
      const buffer = Buffer.allocUnsafe(SMALL_BYTES * 8);
      for (let at = 0; at < done; ) {
        this.#ring.check();
        const length = readSync(bundle, buffer, 0, Math.min(buffer.length, done - at), open.data_offset + at);
        if (length === 0) throw stale(member.path, 'the half bundle is shorter than it was');
        hasher.update(buffer.subarray(0, length));
        at += length;
      }
    } finally {
      closeSync(bundle);
    }
    this.#progress.add(done, 0);
    this.#copy(fd, { offset: done, length: member.size - done }, member.path, hasher, open);
    this.tar.pad();
    return { digests: hasher.digests(), offset: open.data_offset };
  }

  #parts(
    fd: number,
    member: Member,
    extents: readonly Extent[],
    others: readonly Buffer[],
  ): { digests: Digests; offset: number; sparse: true } {
    const map = encodeSparseMap(extents, member.size);
    const stored = map.length + extents.reduce((sum, extent) => sum + extent.length, 0);
    const name = nameBytes(member.path, false);
    const text = isUtf8(name); // Else it stands in the header itself, as a pax record has no place for it.
    const records = [
      paxRecord('GNU.sparse.major', '1'),
      paxRecord('GNU.sparse.minor', '0'),
      ...(text ? [paxRecord('GNU.sparse.name', name)] : []),
      paxRecord('GNU.sparse.realsize', String(member.size)),
      ...others,
    ];
    const shown = text ? Buffer.from('./GNUSparseFile.0/member') : name;
    this.tar.header({ ...this.#fields(member), name: shown, type: TYPE.file, size: stored }, records);
    const offset = this.tar.offset;
    this.tar.write(map);
    const hasher = createHasher(this.#digests);
    let at = 0;
    for (const extent of extents) {
      this.#hole(hasher, extent.offset - at);
      this.#copy(fd, extent, member.path, hasher, null);
      at = extent.offset + extent.length;
    }
    this.#hole(hasher, member.size - at);
    this.tar.pad();
    return { digests: hasher.digests(), offset, sparse: true };
  }

  #hole(hasher: Hasher, length: number): void {
    feedZeros(hasher, length);
    this.#progress.add(length, 0);
  }

  /** @param open a mark may stand in the middle of this file */
  #copy(fd: number, extent: Extent, path: string, hasher: Hasher, open: OpenMember | null): void {
    for (let done = 0; done < extent.length; ) {
      const into = this.tar.room(extent.length - done);
      readFully(fd, into, into.length, path, extent.offset + done);
      hasher.update(into);
      this.tar.advance(into.length);
      this.#progress.add(into.length, 0);
      done += into.length;
      // Between blocks only, and not at the end, where the member's own line says more.
      if (open !== null && done < extent.length && into.length % BLOCK === 0) this.#marker.offer(open);
    }
  }
}

/** The beginning of a file that is in the bundle at `target` already. */
export interface Begun {
  readonly open: OpenMember;
  readonly target: string;
}

const described = (member: Member): { path: string; mode: number; mtime: string } => ({
  path: member.path,
  mode: member.mode,
  mtime: String(member.mtime_ns),
});

function readFully(fd: number, into: Buffer, length: number, path: string, position: number | null): void {
  for (let at = 0; at < length; ) {
    const read = readSync(fd, into, at, length - at, position === null ? null : position + at);
    if (read === 0) throw changed(path, 'shrank');
    at += read;
  }
}

/** The walk's look at the file against one after the last byte: whoever wrote in between left a trace. */
function unchanged(fd: number, member: Member): void {
  const after = fstatSync(fd, { bigint: true });
  if (after.ino !== member.ino || after.dev !== member.dev) throw changed(member.path, 'was replaced');
  if (Number(after.size) !== member.size)
    throw changed(member.path, `went from ${member.size} to ${after.size} bytes`);
  // The change time too, although a chmod touches it: a copy that sets the old mtime again shows only there.
  if (after.mtimeNs !== member.mtime_ns || after.ctimeNs !== member.ctime_ns) {
    throw changed(member.path, 'was modified');
  }
}

export function refuse(path: string, reason: string): never {
  const shown = shownPath(path);
  throw new LongshoreError('E_INSPECTION', `"${shown}" cannot be archived: it ${reason}`, {
    fields: { problems: [[shown, reason]], total: 1 },
  });
}
