import { type Difference, Differences, isDamage } from '../compare/differences.ts';
import { type Counters, createCounters, openConsumer, type RingMemory } from '../ring.ts';
import { MemberProver } from './member-prover.ts';
import { TarMembers } from '../tar/members.ts';
import { TarSource } from '../tar/source.ts';
import { serveThread } from '../threads.ts';

interface Data {
  readonly manifest: string | null;
}

export interface ProvenMembers {
  readonly members: number;
  readonly differences: readonly Difference[];
  readonly num_differences: number;
}

/** The second thread of a proof: takes the tar apart as it comes out of the ring, and writes nothing. */
function proveMembers({ manifest }: Data, ring: RingMemory): ProvenMembers {
  const progress = createCounters(ring);
  const source = new TarSource(openConsumer(ring), (bytes) => progress.add(bytes, 0));
  const differences = new Differences();
  const members =
    manifest === null
      ? walkAlone(source, differences, progress)
      : new MemberProver({ manifest, source, differences, progress }).run();
  source.drain();
  return { members, differences: differences.list, num_differences: differences.total };
}

/** A bundle from elsewhere: its headers are sound, one after the other, up to the end mark. */
function walkAlone(source: TarSource, differences: Differences, progress: Counters): number {
  const members = new TarMembers(source);
  let count = 0;
  try {
    for (let member = members.next(); member !== null; member = members.next()) {
      source.skip(member.stored);
      members.finish(member);
      count += 1;
      progress.add(0, 1);
    }
  } catch (error) {
    if (!isDamage(error)) throw error;
    differences.addDamage(null, error);
  }
  return count;
}

await serveThread((data, ring) => proveMembers(data as Data, ring));
