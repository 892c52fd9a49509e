import { isUtf8 } from 'node:buffer';
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import type { DigestName } from '../../../config/index.ts';
import { LongshoreError } from '../../errors.ts';
import type { OpenMember, PaxTimes } from './checkpoint.ts';
import { createHasher, type Digests, digestOf, feedZeros, type Hasher } from '../digest/digest.ts';
import { reading } from '../files.ts';
import { changed, type HardLinks } from '../hard-links.ts';
import type { ManifestMember } from '../manifest.ts';
import { type Begun, identityOf, KeptData, type Marker, stale } from './kept.ts';
import { encodePath, fsPath, shownPath } from '../path.ts';
import type { Counters, RingProducer } from '../ring.ts';
import { BLOCK, nameBytes, TYPE } from '../tar/header.ts';
import { paxRecord } from '../tar/pax.ts';
import { encodeSparseMap, type Extent, findExtents } from '../tar/sparse.ts';
import type { TarStream } from '../tar/stream.ts';
import { absolutePath, isVanished, leadsToDirectory, type Member, vanished } from '../walk.ts';

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
    const kept = begun === null ? null : new KeptData(begun, this.tar.offset, () => this.#ring.check());
    try {
      const sparse = begun === null ? member.blocks * 512 < member.size : begun.open.sparse === true;
      const place = begun?.open.data_offset ?? null;
      const stored = sparse
        ? this.#parts(fd, member, { place, kept, records })
        : this.#whole(fd, member, { place, kept, records });
      unchanged(fd, member);
      return { ...described(member), type: 'file', size: member.size, ...stored };
    } finally {
      kept?.close();
    }
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

  #whole(fd: number, member: Member, { place, kept, records }: Data): { digests: Digests; offset: number } {
    const { size } = member;
    if (kept === null) this.tar.header({ ...this.#fields(member), type: TYPE.file, size }, records);
    if (size <= SMALL_BYTES) this.tar.contiguous(size);
    const offset = place ?? this.tar.offset;
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
      this.#part(fd, { offset: 0, length: size }, { kept, hasher, open });
      digests = hasher.digests();
    }
    this.tar.pad();
    return { digests, offset };
  }

  #parts(
    fd: number,
    member: Member,
    { place, kept, records: others }: Data,
  ): { digests: Digests; offset: number; sparse: true } {
    const extents = findExtents(fd, member.size, {
      check: () => this.#ring.check(),
      notes: this.#marker.holes(member),
    });
    const map = encodeSparseMap(extents, member.size);
    const stored = map.length + extents.reduce((sum, extent) => sum + extent.length, 0);
    if (kept === null) this.#sparseHeader(member, stored, others);
    const offset = place ?? this.tar.offset;
    if (kept === null) this.tar.write(map);
    else expectMap(kept, map, member.path);
    const hasher = createHasher(this.#digests);
    const open = { ...identityOf(member), data_offset: offset, sparse: true } as const;
    let at = 0;
    for (const extent of extents) {
      this.#hole(hasher, extent.offset - at);
      this.#part(fd, extent, { kept, hasher, open });
      at = extent.offset + extent.length;
    }
    this.#hole(hasher, member.size - at);
    this.tar.pad();
    return { digests: hasher.digests(), offset, sparse: true };
  }

  #sparseHeader(member: Member, stored: number, others: readonly Buffer[]): void {
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
  }

  #hole(hasher: Hasher, length: number): void {
    feedZeros(hasher, length);
    this.#progress.skip(length);
  }

  /** A part of a file: what the half bundle holds of it is digested there, the rest is read from the file. */
  #part(fd: number, { offset, length }: Extent, { kept, hasher, open }: Reading): void {
    let done =
      kept?.take(length, (bytes) => {
        hasher.update(bytes);
        this.#progress.add(bytes.length, 0);
      }) ?? 0;
    while (done < length) {
      const into = this.tar.room(length - done);
      readFully(fd, into, into.length, open.path, offset + done);
      hasher.update(into);
      this.tar.advance(into.length);
      this.#progress.add(into.length, 0);
      done += into.length;
      // Between blocks only, and not at the end of the file, where the member's own line says more.
      if (offset + done < open.size && this.tar.offset % BLOCK === 0) this.#marker.offer(open);
    }
  }
}

/** Of a file's data: where they begin in the bundle and what of them is there, both null for a file that begins. */
interface Data {
  readonly place: number | null;
  readonly kept: KeptData | null;
  /** That its header is to bring. */
  readonly records: readonly Buffer[];
}

interface Reading {
  readonly kept: KeptData | null;
  readonly hasher: Hasher;
  /** A mark may stand in the middle of it. */
  readonly open: OpenMember;
}

/** @throws when the holes are elsewhere than they were: the parts behind the map would be other ones */
function expectMap(kept: KeptData, map: Buffer, path: string): void {
  let at = 0;
  let same = true;
  kept.take(map.length, (bytes) => {
    same &&= bytes.equals(map.subarray(at, at + bytes.length));
    at += bytes.length;
  });
  if (!same || at !== map.length) throw stale(path, 'its holes are not where they were');
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
