import type { DigestName } from '../../../config/index.ts';
import type { PaxTimes } from './checkpoint.ts';
import { HardLinks } from '../hard-links.ts';
import { ManifestWriter } from '../manifest.ts';
import type { Walked } from './pack.ts';
import { type Begun, createMarker, Kept, type Marking } from './kept.ts';
import { Packer, refuse } from './packer.ts';
import { createCounters, openProducer, type RingMemory } from '../ring.ts';
import { TarStream } from '../tar/stream.ts';
import { serveThread } from '../threads.ts';
import { type Member, resolveRoot, walkTree } from '../walk.ts';
import { XattrFeed } from '../xattr/feed.ts';
import type { FeedSource } from '../xattr/scan.ts';
import { xattrRecords } from '../xattr/xattrs.ts';

interface Data extends Marking {
  readonly source: string;
  readonly manifest: string;
  readonly digests: readonly DigestName[];
  readonly pax_times: PaxTimes;
  /** Where extended attributes come from; null: they are not kept. */
  readonly xattrs: FeedSource | null;
}

/** The first thread of packing: walks, reads files straight into the ring as tar, digests them, writes the manifest. */
function readTree(data: Data, ring: RingMemory): Walked {
  const { source, manifest, digests, from, pax_times } = data;
  const base = resolveRoot(source);
  const producer = openProducer(ring);
  const progress = createCounters(ring);
  const tar = new TarStream(producer, from?.offset);
  const writer = new ManifestWriter(manifest, digests, from?.manifest_bytes);
  const marker = createMarker(data, tar, writer);
  const links = new HardLinks();
  const feed = data.xattrs === null ? null : new XattrFeed(data.xattrs, () => producer.check());
  const packer = new Packer({ base, tar, ring: producer, digests, progress, marker, links, pax_times });
  const kept = from === null ? null : new Kept(manifest, from, writer);
  let complete = false;
  try {
    const options = { onUnreadable: (path: string, error: Error) => refuse(path, error.message) };
    for (const member of walkTree(base, options)) {
      const known = kept?.next(member) ?? null;
      if (known !== null) {
        if (known.hard_link !== undefined) links.firstOf(member);
        else if (known.type === 'file') links.note(member, known);
        // Names more of a file bring no bytes, and du counts none.
        if (known.type === 'file' && known.hard_link === undefined) progress.skip(known.size);
      } else {
        const xattrs = feed?.of(member.path) ?? null;
        const begun = beginningOf(member, kept, data);
        const packed = packer.pack(member, begun, xattrRecords(xattrs));
        writer.add(xattrs === null ? packed : { ...packed, xattrs });
      }
      // As the inspection has weighed them, whose sum is what all of this is measured by.
      if (member.type !== 'file') progress.skip(member.size);
      progress.add(0, member.path === '.' ? 0 : 1);
      marker.offer(null);
    }
    kept?.assertUsed();
    packer.tar.end();
    complete = true;
  } finally {
    if (!complete) writer.abandon();
  }
  return { ...writer.close(), xattrs_left_out: feed?.left_out ?? 0 };
}

/** What the bundle at the target holds of this member already. */
function beginningOf(member: Member, kept: Kept | null, { marks }: Data): Begun | null {
  const open = kept?.open(member) ?? null;
  return open === null || marks === null ? null : { open, target: marks.target };
}

await serveThread((data, ring) => readTree(data as Data, ring));
