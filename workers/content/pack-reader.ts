import type { DigestName } from '../../config/index.ts';
import { HardLinks } from './hard-links.ts';
import { type ManifestCounts, ManifestWriter } from './manifest.ts';
import { createMarker, Kept, type Marking } from './pack-kept.ts';
import { Packer, refuse } from './packer.ts';
import { createCounters, openProducer, type RingMemory } from './ring.ts';
import { TarStream } from './tar/stream.ts';
import { serveThread } from './threads.ts';
import { resolveRoot, walkTree } from './walk.ts';

interface Data extends Marking {
  readonly source: string;
  readonly manifest: string;
  readonly digests: readonly DigestName[];
}

/** The first thread of packing: walks, reads files straight into the ring as tar, digests them, writes the manifest. */
function readTree(data: Data, ring: RingMemory): { counts: ManifestCounts; body: string } {
  const { source, manifest, digests, from } = data;
  const base = resolveRoot(source);
  const producer = openProducer(ring);
  const progress = createCounters(ring);
  const tar = new TarStream(producer, from?.offset);
  const writer = new ManifestWriter(manifest, digests, from?.manifest_bytes);
  const marker = createMarker(data, tar, writer);
  const links = new HardLinks();
  const packer = new Packer({ base, tar, ring: producer, digests, progress, marker, links });
  const kept = from === null ? null : new Kept(manifest, from, writer);
  let complete = false;
  try {
    const options = { onUnreadable: (path: string, error: Error) => refuse(path, error.message) };
    for (const member of walkTree(base, options)) {
      const known = kept?.next(member) ?? null;
      if (known !== null) {
        if (known.type === 'file') links.note(member, known);
        progress.add(known.type === 'file' ? known.size : 0, 0);
      } else writer.add(packer.pack(member, kept?.open(member) ?? null, data.marks?.target ?? ''));
      progress.add(0, member.path === '.' ? 0 : 1);
      marker.offer(null);
    }
    kept?.assertUsed();
    packer.tar.end();
    complete = true;
  } finally {
    if (!complete) writer.abandon();
  }
  return writer.close();
}

serveThread((data, ring) => readTree(data as Data, ring));
