/** Overlap: what changes something runs once at a time on what it acts on. A second one does nothing and ends with 75. */
import { createHash } from 'node:crypto';
import { hostname } from 'node:os';
import { join } from 'node:path';
import type { Config } from '../../config/index.ts';
import { isLongshoreError, LongshoreError } from '../../workers/errors.ts';
import type { Logger } from '../../workers/log.ts';
import type { Holder, LockOptions } from '../../workers/queue/script-lock.ts';
import { releaseHostLock, takeHostLock } from './host-lock.ts';
import { EXIT } from './program.ts';

export interface Overlap extends Pick<LockOptions, 'subjects' | 'outlives_lock' | 'wait_seconds'> {
  readonly script: string;
  /** It touches no lock. */
  readonly dry_run?: boolean;
  /** Where Redis does not answer, the lock is that of this host. */
  readonly without_redis?: boolean;
}

/** Of what runs without a lock, or under one that is not lost. */
const NEVER = new AbortController().signal;

/**
 * Runs it once at a time over the whole fleet; the signal tells that the lock was lost, `away` that Redis was waited for in
 * vain and the lock is that of this host.
 *
 * @throws E_BUSY, E_REDIS_UNAVAILABLE
 */
export async function alone<T>(
  { config, log }: { config: Config; log: Logger },
  { script, dry_run = false, without_redis = false, ...options }: Overlap,
  body: (signal: AbortSignal, away: LongshoreError | null) => Promise<T>,
): Promise<T> {
  if (dry_run) return body(NEVER, null);
  // Loaded here: what is done on one host needs no connection to Redis.
  const { withScriptLock } = await import('../../workers/queue/script-lock.ts');
  let begun = false;
  const begin = (signal: AbortSignal): Promise<T> => {
    begun = true;
    return body(signal, null);
  };
  try {
    const outcome = await withScriptLock(config, script, log, begin, options);
    if (outcome.ran) return outcome.result;
    if (outcome.busy === null)
      throw new LongshoreError('E_BUSY', `this turn of ${script} was run elsewhere`, { fields: { script } });
    throw busy(script, outcome.busy);
  } catch (error) {
    const away = isLongshoreError(error) && error.code === 'E_REDIS_UNAVAILABLE' ? error : null;
    if (begun || !without_redis || away === null) throw error;
    return aloneOnHost(config, { script, subjects: options.subjects ?? [''] }, () => body(NEVER, away));
  }
}

/**
 * Runs it once at a time on this host, where there may be no Redis yet. A state folder that cannot be written to keeps nobody
 * from it: what lies there is told by who needs it.
 *
 * @throws E_BUSY
 */
export async function aloneOnHost<T>(
  { state_dir }: Pick<Config, 'state_dir'>,
  { script, subjects, dry_run = false }: { script: string; subjects: readonly string[]; dry_run?: boolean },
  body: () => Promise<T>,
): Promise<T> {
  if (dry_run) return body();
  const taken: string[] = [];
  try {
    for (const subject of new Set(subjects)) {
      const file = hostLockOf(state_dir, script, subject);
      const other = lockedBy(file);
      if (other !== null)
        throw busy(script, { holder: `${hostname()}:${other.pid}`, since: other.since, subject });
      taken.push(file);
    }
    return await body();
  } finally {
    for (const file of taken) releaseHostLock(file);
  }
}

/** Subjects are paths as well, which are longer than names of files may be. */
export function hostLockOf(state_dir: string, script: string, subject: string): string {
  const digest = createHash('sha256').update(subject).digest('hex').slice(0, 20);
  return join(state_dir, 'locks', `${script}-${hostname()}-${digest}.lock`);
}

function lockedBy(file: string): ReturnType<typeof takeHostLock> {
  try {
    return takeHostLock(file);
  } catch (error) {
    if (typeof (error as NodeJS.ErrnoException).syscall !== 'string') throw error;
    return null;
  }
}

function busy(
  script: string,
  { holder, since, subject }: Holder & { readonly subject: string | null },
): LongshoreError {
  const meant = subject === null ? script : `${script} of ${subject}`;
  const begun = since === null ? '' : ` since ${since}`;
  return new LongshoreError(
    'E_BUSY',
    `${meant} was not begun: the previous run is still active, as ${holder}${begun}`,
    { fields: { script, subject, holder, since } },
  );
}

export const busyHelp = `\nAnother run of it is still active: ${EXIT.busy}`;
