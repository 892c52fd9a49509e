/** Tells whoever is on duty that an archived copy is damaged or missing. */
import { spawn } from 'node:child_process';
import type { Proof } from '../../workers/dataset/types.ts';
import { ERRORS, LongshoreError } from '../../workers/errors.ts';
import type { Session } from '../cli/session.ts';

/** A mail program that hangs must not hold up the scrub. */
const PATIENCE_MS = 60_000;
const MAX_SAID = 2000;

export interface Finding extends Proof {
  readonly name: string;
  readonly type: string;
}

/** An entry in the audit trail, and the facility's own command. Its failure is logged and stops nothing. */
export async function raiseAlarm({ config, store, log }: Session, finding: Finding): Promise<void> {
  const { dataset_id, actor, at: _, details, ...about } = finding;
  await store.records.audit({
    actor,
    action: 'fixity.alarm',
    subject: `dataset:${dataset_id}`,
    details: { code: 'E_FIXITY', ...about, ...details },
  });
  const command = config.fixity.alarm;
  if (command === null) return;
  try {
    await call(command, { code: 'E_FIXITY', hint: ERRORS.E_FIXITY.hint, ...finding });
  } catch (error) {
    log.error({ err: error, command, dataset_id, archive: finding.archive }, 'the alarm command failed');
  }
}

function call([program = '', ...args]: readonly string[], message: unknown): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      stdio: ['pipe', 'ignore', 'pipe'],
      timeout: PATIENCE_MS,
      killSignal: 'SIGKILL',
    });
    let said = '';
    child.stderr.on('data', (chunk: Buffer) => {
      if (said.length < MAX_SAID) said += chunk.toString();
    });
    const failed = (how: string, cause?: unknown): void =>
      reject(
        new LongshoreError('E_SUBPROCESS', `${program} ${how}${said === '' ? '' : `: ${said.trim()}`}`, {
          cause,
        }),
      );
    child.once('error', (error) => failed(`could not be started: ${error.message}`, error));
    child.once('close', (code, signal) =>
      code === 0 ? resolve() : failed(signal === null ? `ended with code ${code}` : `was ended by ${signal}`),
    );
    // It may end without having read; its exit code tells what to make of that.
    child.stdin.on('error', () => undefined);
    child.stdin.end(`${JSON.stringify(message)}\n`);
  });
}
