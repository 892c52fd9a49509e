import type { Config } from '../../config/index.ts';
import type { Records } from '../records/contract.ts';

const DAY_MS = 86_400_000;
/** In one turn: a fraction of a second in which nobody else can write, and millions a day. */
const LINES = 5_000;

/** What programs printed is by far the most that is recorded of a dataset, and the first that nobody reads any more. */
export async function forgetOldLogs(
  { records: { keep_log_days } }: Pick<Config, 'records'>,
  records: Pick<Records, 'forgetLogs'>,
): Promise<void> {
  if (keep_log_days === null) return;
  await records.forgetLogs(new Date(Date.now() - keep_log_days * DAY_MS).toISOString(), LINES);
}
