/** Who is on duty hears of every finding, whoever made it: the scrub, a staging, a recall or `longshore verify`. */
import type { Catalog, CopyFixity } from '../../workers/catalog/contract.ts';
import { isFinding, isHeld, openFinding, type Proof } from '../../workers/dataset/types.ts';
import type { AuditEntry } from '../../workers/records/contract.ts';
import type { Session } from '../cli/session.ts';
import { ALARM, raiseAlarm } from './alarm.ts';

/** A mail server that is down for a night is not asked each time. */
const AGAIN_AFTER_MS = 3_600_000;
/** Entries, and lines of the ledger, about one dataset among which its alarms and findings are looked for. */
const ENTRIES = 1000;
/** A finding that a proof has closed is still told of for so long: nobody may hear of a copy that was damaged on Friday. */
const CLOSED_FOR_MS = 7 * 86_400_000;

export interface Alarmed {
  readonly dataset_id: number;
  readonly name: string;
  readonly archive: string;
  readonly finding: Proof;
  /** When a later proof held; null: none has. */
  readonly closed_at: string | null;
}

interface Due {
  readonly copy: CopyFixity;
  readonly finding: Proof;
  /** When the copy was last good before it; '' for never. */
  readonly since: string;
  readonly closed_at: string | null;
}

/**
 * Raises what was found and not told yet; answers it. Once for a copy, until a proof holds for it: a staging that is
 * tried four times finds the same thing four times. What was put right in the meantime is told of too: whoever wrote a copy
 * anew, or read it well the second time, has not repaired a disk. Killed between the telling and its entry, it is told twice.
 */
export async function raiseAlarms(
  session: Session,
  { dataset_id, dry_run = false }: { dataset_id?: number; dry_run?: boolean } = {},
): Promise<Alarmed[]> {
  const { catalog, records } = session.store;
  const raised: Alarmed[] = [];
  const about = dataset_id === undefined ? {} : { dataset_id };
  for (const { copy, finding, since, closed_at } of [
    ...(await openOnes(catalog, about)),
    ...(await closedOnes(catalog, about)),
  ]) {
    const subject = `dataset:${copy.dataset_id}`;
    const entries = await records.auditLog({ subject, limit: ENTRIES });
    if (entries.some((entry) => isTold(entry, copy, since))) continue;
    const { name, type, archive } = copy;
    if (!dry_run) await raiseAlarm(session, { ...finding, name, type, closed_at });
    raised.push({ dataset_id: copy.dataset_id, name, archive, finding, closed_at });
  }
  return raised;
}

async function openOnes(catalog: Catalog, about: { dataset_id?: number }): Promise<Due[]> {
  return (await catalog.fixity({ ...about, failed: true })).flatMap((copy) => {
    const finding = openFinding(copy);
    return finding === null ? [] : [{ copy, finding, since: copy.verified_at ?? '', closed_at: null }];
  });
}

/** The newest of each copy that holds again. */
async function closedOnes(catalog: Catalog, about: { dataset_id?: number }): Promise<Due[]> {
  const from = new Date(Date.now() - CLOSED_FOR_MS).toISOString();
  const ledger = (result: Proof['result']) => catalog.proofs({ ...about, result, limit: ENTRIES });
  const failed = (await Promise.all([ledger('mismatch'), ledger('missing')])).flat();
  const ids = new Set(failed.filter(({ at }) => at >= from).map(({ dataset_id }) => dataset_id));
  const due: Due[] = [];
  for (const dataset_id of ids) {
    const lines = await catalog.proofs({ dataset_id, limit: ENTRIES });
    for (const copy of await catalog.fixity({ dataset_id })) {
      if (openFinding(copy) !== null) continue;
      const found = lastClosed(
        lines.filter(({ archive, key }) => archive === copy.archive && key === copy.key),
      );
      if (found !== null && found.finding.at >= from) due.push({ copy, ...found });
    }
  }
  return due;
}

/** @param lines of one copy, newest first */
function lastClosed(lines: readonly Proof[]): Omit<Due, 'copy'> | null {
  const at = lines.findIndex(isFinding);
  const finding = lines[at];
  if (finding === undefined) return null;
  const closing = lines.slice(0, at).findLast(isHeld);
  const before = lines.slice(at + 1).find(isHeld);
  return { finding, since: before?.at ?? '', closed_at: closing?.at ?? finding.at };
}

/** Of what was found since the copy last proved good. One that reached nobody is raised again, later. */
function isTold({ action, at, details }: AuditEntry, copy: CopyFixity, since: string): boolean {
  if (action !== ALARM || details.archive !== copy.archive || details.key !== copy.key) return false;
  if (at < since) return false;
  return details.told !== false || Date.parse(at) > Date.now() - AGAIN_AFTER_MS;
}
