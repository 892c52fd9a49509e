/** Tells whoever is on duty, by mail, of a job that lost its process again and again. */
import type { Config } from '../../../config/index.ts';
import { ERRORS } from '../../errors.ts';
import type { Logger } from '../../log.ts';
import type { Attempt } from '../../records/contract.ts';
import type { Store } from '../../store.ts';
import { sendMail } from '../../tools/mail.ts';

/** Nobody is named in config.email.alarm_to: nothing is done. Never rejects: a mail that fails is logged. */
export async function tellSetAside(
  { config, store, log }: { config: Config; store: Store; log: Logger },
  workflow_id: string,
  losses: number,
): Promise<void> {
  const { alarm_to } = config.email;
  if (alarm_to.length === 0) return;
  try {
    const found = await store.records.workflowWithRuns(workflow_id);
    const run = found?.last_runs.findLast((one) => one !== null && one !== undefined);
    const attempts = run == null ? [] : await store.records.attempts(run._id);
    const { name = '?', dataset_id = null } = found?.workflow ?? {};
    await sendMail(config.email, {
      to: alarm_to,
      subject: `[${config.app_id}] set aside: step ${JSON.stringify(run?.step ?? '?')} of dataset ${dataset_id}`,
      text: [
        `${run?.name ?? 'A task'} of workflow ${workflow_id} (${name}) lost its process ${losses} times.`,
        ERRORS.E_WORKER_LOST.hint,
        '',
        ...attempts.map(lineOf),
        '',
        `longshore show ${workflow_id}`,
        `longshore resume ${workflow_id}`,
        '',
      ].join('\n'),
    });
  } catch (error) {
    log.error(
      { err: error, to: alarm_to, workflow_id },
      'the mail about a job that was set aside was not sent',
    );
  }
}

const lineOf = ({ number, worker, date_start, date_end, outcome, reason }: Attempt): string =>
  `attempt ${number}: ${date_start} to ${date_end ?? '?'} on ${worker}: ${outcome ?? 'no end'}${reason === null ? '' : `, ${reason}`}`;
