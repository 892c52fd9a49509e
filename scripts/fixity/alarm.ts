/** Tells whoever is on duty that an archived copy is damaged or missing. */
import { spawn } from 'node:child_process';
import type { Proof } from '../../workers/dataset/types.ts';
import { ERRORS, LongshoreError } from '../../workers/errors.ts';
import { environmentFor } from '../../workers/tools/environment.ts';
import { sendMail } from '../../workers/tools/mail.ts';
import { oneLine } from '../cli/format.ts';
import type { Session } from '../cli/session.ts';

/** A mail program that hangs must not hold up the scrub. */
const PATIENCE_MS = 60_000;
const LINGER_MS = 500;
const MAX_SAID = 2000;

const WATCH_IT =
  'If it was not written anew on purpose, look after the disk, the network or the tape that it was read from.';

/** The action of its entry in the audit trail. */
export const ALARM = 'fixity.alarm';

export interface Finding extends Proof {
  readonly name: string;
  readonly type: string;
  /** When a later proof held; null: none has. */
  readonly closed_at: string | null;
}

/**
 * A mail, the facility's own command, and then an entry in the audit trail, which says `told: false` when neither reached
 * anybody. A failure of either is logged and stops nothing.
 */
export async function raiseAlarm({ config, store, log }: Session, finding: Finding): Promise<void> {
  const { dataset_id, actor, at: found_at, details, ...about } = finding;
  const ways = [await mailFinding({ config, log }, finding), await callFor({ config, log }, finding)].filter(
    (reached) => reached !== null,
  );
  const told = ways.length === 0 || ways.includes(true);
  await store.records.audit({
    actor,
    action: ALARM,
    subject: `dataset:${dataset_id}`,
    details: { ...details, ...about, found_at, told, code: 'E_FIXITY' },
  });
}

const hintFor = ({ closed_at }: Finding): string =>
  closed_at === null ? ERRORS.E_FIXITY.hint : `A proof held at ${closed_at}. ${WATCH_IT}`;

/** Null: none is configured. */
async function callFor(
  { config, log }: Pick<Session, 'config' | 'log'>,
  finding: Finding,
): Promise<boolean | null> {
  const command = config.fixity.alarm;
  if (command === null) return null;
  try {
    await callAlarm(command, { code: 'E_FIXITY', hint: hintFor(finding), ...finding });
    return true;
  } catch (error) {
    const { dataset_id, archive } = finding;
    log.error({ err: error, command, dataset_id, archive }, 'the alarm command failed');
    return false;
  }
}

/** Null: nobody is named. */
async function mailFinding(
  { config, log }: Pick<Session, 'config' | 'log'>,
  finding: Finding,
): Promise<boolean | null> {
  const { alarm_to } = config.email;
  if (alarm_to.length === 0) return null;
  const { name, dataset_id, archive, result, closed_at } = finding;
  const since = closed_at === null ? '' : ', and well since';
  try {
    await sendMail(config.email, {
      to: alarm_to,
      subject: oneLine(`[${config.app_id}] archived copy of ${name} in ${archive}: ${result}${since}`),
      text: `${hintFor(finding)}\n\n${JSON.stringify(finding, null, 2)}\n\nnpx longshore fixity ${dataset_id}\n`,
    });
    return true;
  } catch (error) {
    log.error({ err: error, to: alarm_to, dataset_id, archive }, 'the mail about a finding was not sent');
    return false;
  }
}

/** @throws E_SUBPROCESS it could not be started, took too long, or ended with another code than 0 */
export function callAlarm(
  [program = '', ...args]: readonly string[],
  message: unknown,
  patience_ms = PATIENCE_MS,
): Promise<void> {
  const child = spawn(program, args, { stdio: ['pipe', 'ignore', 'pipe'], env: environmentFor() });
  let said = '';
  child.stderr.on('data', (chunk: Buffer) => {
    if (said.length < MAX_SAID) said += chunk.toString();
  });
  // It may end without having read; its exit code tells what to make of that.
  child.stdin.on('error', () => undefined);
  child.stdin.end(`${JSON.stringify(message)}\n`);
  // Not the option of `spawn`: its timer outlives a program that could not be started.
  const late = setTimeout(() => child.kill('SIGKILL'), patience_ms);
  let lingering: NodeJS.Timeout | undefined;
  return new Promise<void>((resolve, reject) => {
    const failed = (how: string, cause?: unknown): void => {
      const more = said.trim() === '' ? '' : `: ${said.trim()}`;
      reject(new LongshoreError('E_SUBPROCESS', `${program} ${how}${more}`, { cause }));
    };
    child.once('error', (error) => failed(`could not be started: ${error.message}`, error));
    // What it left running in the background may hold its stderr open for ever.
    child.once('exit', () => (lingering = setTimeout(() => child.stderr.destroy(), LINGER_MS)));
    child.once('close', (code, signal) => {
      if (code === 0) resolve();
      else failed(signal === null ? `ended with code ${code}` : `was ended by ${signal}`);
    });
  }).finally(() => {
    clearTimeout(late);
    clearTimeout(lingering);
  });
}
