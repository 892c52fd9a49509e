/** Who is on duty hears of every finding, whoever made it: the scrub, a staging, a recall or `longshore verify`. */
import type { CopyFixity } from '../../workers/catalog/contract.ts';
import { openFinding, type Proof } from '../../workers/dataset/types.ts';
import type { AuditEntry } from '../../workers/records/contract.ts';
import type { Session } from '../cli/session.ts';
import { ALARM, raiseAlarm } from './alarm.ts';

/** A mail server that is down for a night is not asked each time. */
const AGAIN_AFTER_MS = 3_600_000;
/** Entries about one dataset among which its alarms are looked for. */
const ENTRIES = 1000;

export interface Alarmed {
  readonly dataset_id: number;
  readonly name: string;
  readonly archive: string;
  readonly finding: Proof;
}

/**
 * Raises what is open and was not told yet; answers it. Once for a copy, until a proof holds for it: a staging that is
 * tried four times finds the same thing four times. Killed between the telling and its entry, it is told twice.
 */
export async function raiseAlarms(
  session: Session,
  { dataset_id, dry_run = false }: { dataset_id?: number; dry_run?: boolean } = {},
): Promise<Alarmed[]> {
  const { catalog, records } = session.store;
  const raised: Alarmed[] = [];
  const about = dataset_id === undefined ? {} : { dataset_id };
  for (const copy of await catalog.fixity({ ...about, failed: true })) {
    const finding = openFinding(copy);
    if (finding === null) continue;
    const subject = `dataset:${copy.dataset_id}`;
    const entries = await records.auditLog({ subject, limit: ENTRIES });
    if (entries.some((entry) => isTold(entry, copy))) continue;
    const { name, type, archive } = copy;
    if (!dry_run) await raiseAlarm(session, { ...finding, name, type });
    raised.push({ dataset_id: copy.dataset_id, name, archive, finding });
  }
  return raised;
}

/** Of what was found since the copy last proved good. One that reached nobody is raised again, later. */
function isTold({ action, at, details }: AuditEntry, copy: CopyFixity): boolean {
  if (action !== ALARM || details.archive !== copy.archive || details.key !== copy.key) return false;
  if (at < (copy.verified_at ?? '')) return false;
  return details.told !== false || Date.parse(at) > Date.now() - AGAIN_AFTER_MS;
}
