/** A dataset of two files, of whose bundle there are two copies, and what a look at one of them may find. */
import type { Proof } from '../../workers/dataset/types.ts';
import type { Landing } from './landing.ts';

export const files = { 'a.txt': 'alpha', 'sub/b.bin': Buffer.alloc(300_000, 7) };

export const two = {
  archive: {
    types: { RAW_DATA: ['filesystem', 'mirror'] },
    backends: { mirror: { kind: 'filesystem', root: '{home}/mirror' } },
  },
};

/** A mismatch, unless it is given otherwise. */
export const found = (
  { store, id }: Landing,
  archive: string,
  given: Pick<Proof, 'key'> & Partial<Proof>,
): Promise<void> =>
  store.catalog.addProof({
    dataset_id: id,
    archive,
    at: new Date().toISOString(),
    level: 'stream',
    result: 'mismatch',
    bytes: 1,
    seconds: 0,
    actor: 'scrub',
    details: {},
    ...given,
  });
