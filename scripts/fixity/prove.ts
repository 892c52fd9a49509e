/** One proof with its line in the ledger, as the scrub and `longshore verify` make it. */
import { openArchive } from '../../workers/archive/index.ts';
import { proveCopy, type ProveCopyOptions } from '../../workers/archive/proof.ts';
import type { Difference } from '../../workers/content/compare/differences.ts';
import {
  type BundleCopy,
  isFinding,
  openFinding,
  type Proof,
  type ProofLevel,
} from '../../workers/dataset/types.ts';
import { coerceError } from '../../workers/errors.ts';
import type { Store } from '../../workers/store.ts';
import { toServed } from '../../workers/workflows/status.ts';
import type { Session } from '../cli/session.ts';
import { withTransfer } from './transfer.ts';

export interface ProofRequest
  extends Pick<ProveCopyOptions, 'dataset_id' | 'actor' | 'pace' | 'signal' | 'onProgress'> {
  readonly copy: Omit<BundleCopy, 'finding'>;
  readonly level: ProofLevel;
}

/** Reads also where only a digest was asked for, see {@link levelFor}. */
export async function proveAndRecord(session: Session, asked: ProofRequest): Promise<Proof> {
  const before = await recordedNow(session.store, asked);
  const request = { ...asked, level: levelFor(asked, before) };
  const found = await withManifest(session.store, await prove(session, request));
  const proof = await confirmed(session.store, { ...request, before }, found);
  // Said before it is written down: a catalog that is away must not keep it from those who can act.
  if (isFinding(proof))
    session.log.error({ code: 'E_FIXITY', ...proof }, 'an archived copy is not what was archived');
  else if (proof.result === 'unavailable') session.log.warn(proof, 'an archived copy could not be looked at');
  await session.store.catalog.addProof(proof);
  return proof;
}

/** Null: the catalog has none there any more. */
async function recordedNow(
  { catalog }: Store,
  { dataset_id, copy }: Pick<ProofRequest, 'dataset_id' | 'copy'>,
): Promise<BundleCopy | null> {
  return (await catalog.copies(dataset_id)).find(({ archive }) => archive === copy.archive) ?? null;
}

/** What a reading has found is taken back by a reading alone: of an object that has rotted the archive states the same digest. */
function levelFor({ level }: ProofRequest, before: BundleCopy | null): ProofLevel {
  const finding = before === null ? null : openFinding(before);
  const wasRead = finding?.level === 'stream' && finding.result === 'mismatch';
  // Since then another object was stored there.
  const isOther = (finding?.at ?? '') < (before?.stored_at ?? '');
  return level === 'digest' && wasRead && !isOther ? 'stream' : level;
}

async function prove(session: Session, request: ProofRequest): Promise<Proof> {
  const { config } = session;
  const { copy, dataset_id, level, actor, signal } = request;
  let archive;
  try {
    archive = openArchive(config, copy.archive);
  } catch (error) {
    // The archive was taken out of the configuration; that says nothing about the bytes in it.
    const { code, message } = coerceError(error);
    return {
      dataset_id,
      archive: copy.archive,
      key: copy.key,
      at: new Date().toISOString(),
      level,
      result: 'unavailable',
      bytes: 0,
      seconds: 0,
      actor,
      details: { code, reason: message },
    };
  }
  const proof = (): Promise<Proof> => proveCopy({ ...request, archive, scratch: config.paths.scratch });
  return level === 'stream' ? withTransfer(session, archive, signal, proof) : proof();
}

/** Lines of the ledger that are searched for one with a manifest. */
const MANY = 1000;

/** Without its manifest a bundle can be proven, but no single file of it recalled: losing one is losing a part. */
async function withManifest({ catalog }: Store, proof: Proof): Promise<Proof> {
  if (proof.result !== 'ok' || proof.details.manifest !== false) return proof;
  const before = await catalog.proofs({ dataset_id: proof.dataset_id, limit: MANY });
  const had = before.find(
    ({ archive, key, details }) =>
      archive === proof.archive && key === proof.key && details.manifest === true,
  );
  if (had === undefined) return proof;
  const difference: Difference = {
    member: null,
    what: 'manifest',
    expected: `beside the bundle, as at ${had.at}`,
    actual: 'missing',
  };
  const details = { ...proof.details, num_differences: 1, differences: [difference] };
  return { ...proof, result: 'mismatch', details };
}

/** A finding about a copy that is being stored anew or deleted just now is none. */
async function confirmed(store: Store, look: Look, proof: Proof): Promise<Proof> {
  if (!isFinding(proof)) return proof;
  const reason = await changing(store, look);
  if (reason === null) return proof;
  return { ...proof, result: 'unavailable', details: { ...proof.details, code: 'E_WORKFLOW_STATE', reason } };
}

/** Tasks that change what the archive holds. */
const WRITERS = new Set(['archive_dataset', 'delete_dataset']);

/** A copy that is looked at, and as it was recorded when the look began. */
interface Look extends ProofRequest {
  readonly before: BundleCopy | null;
}

async function changing(store: Store, { dataset_id, copy, before }: Look): Promise<string | null> {
  const { catalog, records } = store;
  // First the workflows: one that ends between the two questions has changed the record by then.
  const { results } = await records.listWorkflows({ dataset_id, status: 'ACTIVE' });
  const writer = results.find((one) =>
    toServed(one).steps.some(({ task, status }) => WRITERS.has(task) && status !== 'SUCCESS'),
  );
  if (writer !== undefined) return `workflow ${writer.workflow.id} (${writer.workflow.name}) changes it`;
  const { is_deleted } = await catalog.get(dataset_id);
  if (is_deleted) return 'the dataset was deleted meanwhile';
  const now = await recordedNow(store, { dataset_id, copy });
  const same = now?.key === copy.key && now.size === copy.size && sameDigests(now.digests, copy.digests);
  // The same dataset gives the same bundle, so that only the date tells a new object from the old one.
  return same && now.stored_at === before?.stored_at ? null : 'the copy was stored anew or removed meanwhile';
}

const sameDigests = (a: Readonly<Record<string, string>>, b: Readonly<Record<string, string>>): boolean =>
  Object.keys({ ...a, ...b }).every((name) => a[name] === b[name]);
