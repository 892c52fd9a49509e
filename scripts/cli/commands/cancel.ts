import type { Command } from 'commander';
import { LongshoreError } from '../../../workers/errors.ts';
import type { RunningJob } from '../../../workers/queue/registry.ts';
import { type Outcome, tryEach } from '../each.ts';
import { type FleetSession, withFleet } from '../fleet-session.ts';
import { jobsOf } from '../fleet-view.ts';
import { dryRunBesideArguments, helpTail, jsonOption } from '../program.ts';
import { currentUser } from '../session.ts';

/** What its programs get between SIGTERM and SIGKILL: with one second, a deaf one took up to 2.1 s from the shell. */
const GRACE_SECONDS = 0.5;
/** Jobs that began after the last heartbeat are asked for, but nobody is waited for in vain. */
const ASK_SECONDS = 1;

interface Options {
  revoke?: boolean;
  reason?: string;
  json?: boolean;
  dryRun?: boolean;
}

export function addCancel(program: Command): void {
  program
    .command('cancel')
    .argument('<id...>', 'task ids or job ids of what runs; see npx longshore active')
    .description('stop running jobs, on whatever host they run')
    .option('--reason <text>', 'kept with the attempt and in the history')
    .option('--revoke', 'take the rest of its workflow out of the queue too')
    .addOption(dryRunBesideArguments())
    .addOption(jsonOption())
    .addHelpText(
      'after',
      helpTail([
        'longshore active',
        'longshore cancel 0b3e2f6a-6a0e-4a4e-9a38-0a3c1f1f2b60 --reason "wrong source folder"',
        'longshore cancel 3d9ed8a4-5438-4b6b-af14-f6193186c136.2 --revoke',
      ]),
    )
    .addHelpText(
      'after',
      `
Its workflow is REVOKED afterwards, as by longshore pause (with --revoke: as by
longshore revoke); longshore resume runs the step again.`,
    )
    .action(async (ids: string[], options: Options) => {
      process.exitCode = await withFleet((session) =>
        tryEach(ids, { list: 'jobs', json: options.json }, (id) => cancel(session, id, options)),
      );
    });
}

async function cancel(session: FleetSession, id: string, options: Options): Promise<Outcome> {
  const { engine } = session;
  const job = await runningJob(session, id);
  const { workflow_id, task_id, step, worker } = job;
  if (options.dryRun)
    return {
      json: { dry_run: true, would: 'cancel', ...job },
      text: `would cancel ${task_id} (step "${step}") on ${worker} (dry run: nothing was changed)`,
    };
  const how = options.revoke ? 'revoke' : 'pause';
  const answer = await engine[how](workflow_id, {
    actor: currentUser(),
    task_id,
    grace_seconds: GRACE_SECONDS,
    ...(options.reason === undefined ? {} : { reason: options.reason }),
  });
  if (!answer.paused)
    throw new LongshoreError('E_WORKFLOW_STATE', `${task_id} has ended meanwhile; nothing was stopped`, {
      fields: { task_id, workflow_id },
      hint: `See what became of it with \`longshore show ${workflow_id}\`.`,
    });
  const silent =
    answer.process === 'silent' ? '. Its worker did not answer; the task may publish nothing any more' : '';
  return {
    json: { ...job, process: answer.process },
    text: `cancelled ${task_id} (step "${step}") on ${worker}; npx longshore resume ${workflow_id} runs it again${silent}`,
  };
}

type Placed = RunningJob & { worker: string };

const isMeant =
  (id: string) =>
  ({ task_id, workflow_id, index }: RunningJob): boolean =>
    id === task_id || id === `${workflow_id}.${index}` || id === workflow_id;

/** @throws E_WORKFLOW_STATE when nothing of that id runs */
async function runningJob({ side }: FleetSession, id: string): Promise<Placed> {
  const workers = await side.registry.list();
  const listed = jobsOf(workers).find(isMeant(id));
  if (listed !== undefined) return listed;
  const to = workers.map(({ name }) => name);
  const { replies } = await side.control.ask('active', {}, { to, wait_seconds: ASK_SECONDS });
  const found = replies
    .flatMap(({ worker, result }) => ((result ?? []) as RunningJob[]).map((job) => ({ ...job, worker })))
    .find(isMeant(id));
  if (found !== undefined) return found;
  throw new LongshoreError('E_WORKFLOW_STATE', `no worker runs a job of the id ${id}`, {
    fields: { id },
    hint: 'longshore active lists what runs. What waits is stopped with longshore pause or revoke.',
  });
}
