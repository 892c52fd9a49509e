import type { Command } from 'commander';
import { LongshoreError } from '../../../workers/errors.ts';
import type { WorkflowStatus } from '../../../workers/records/contract.ts';
import { toServed } from '../../../workers/workflows/status.ts';
import { type Outcome, tryEach } from '../each.ts';
import { findWorkflow } from '../find.ts';
import { moment } from '../format.ts';
import { dryRunBesideArguments, helpTail, jsonOption } from '../program.ts';
import { currentUser, type EngineSession, withEngine } from '../session.ts';

interface Options {
  force?: boolean;
  dryRun?: boolean;
  json?: boolean;
}

/** pause, revoke, resume. */
export function addControl(program: Command): void {
  command(program, 'pause', 'stop the step that runs or is next; resume goes on with it', stop);
  command(
    program,
    'revoke',
    'stop it and take the rest of it out of the queue; dismiss one that has failed',
    stop,
  );
  command(program, 'resume', 'go on with a workflow that failed or was stopped', resume).option(
    '--force',
    'also when a step is said to be running (after an outage of its worker)',
  );
}

type How = 'pause' | 'revoke' | 'resume';
type Act = (session: EngineSession, request: Request) => Promise<Outcome>;

interface Request {
  id: string;
  how: How;
  force: boolean;
}

function command(program: Command, how: How, description: string, act: Act): Command {
  return program
    .command(how)
    .argument('<id...>', 'ids of workflows, or ids or names of datasets: their active or newest workflow')
    .description(description)
    .addOption(dryRunBesideArguments())
    .addOption(jsonOption())
    .addHelpText(
      'after',
      helpTail([
        `longshore ${how} 3d9ed8a4-5438-4b6b-af14-f6193186c136`,
        `longshore ${how} run_17 run_18 --dry-run`,
      ]),
    )
    .action(async (words: string[], options: Options) => {
      process.exitCode = await withEngine((session) =>
        tryEach(words, { list: 'workflows', json: options.json }, async (word) => {
          const id = await findWorkflow(session.store, word);
          const { dryRun = false, force = false } = options;
          return (dryRun ? preview : act)(session, { id, how, force });
        }),
      );
    });
}

async function stop({ engine }: EngineSession, { id, how }: Request): Promise<Outcome> {
  const answer = await engine[how === 'revoke' ? 'revoke' : 'pause'](id, { actor: currentUser() });
  const { status } = await engine.show(id);
  // A revoke of what has failed or is paused takes out the rest of it.
  const changed = answer.paused || (how === 'revoke' && (status === 'FAILURE' || status === 'REVOKED'));
  if (!changed) throw wrongState(id, status, how);
  const dismissed = !answer.paused && status === 'FAILURE';
  const json = { workflow_id: id, ...answer, ...(dismissed ? { dismissed } : {}) };
  if (dismissed)
    return {
      json,
      text: `dismissed ${id}: it has failed before and stays FAILURE, and waits for nobody any more; resume starts it again from its step`,
    };
  const step = answer.revoked_step === undefined ? '' : ` at step "${answer.revoked_step.name}"`;
  const silent =
    answer.process === 'silent' ? '. Its worker did not answer; the task may publish nothing any more' : '';
  const next = how === 'pause' ? 'resume goes on with it' : 'resume starts it again from this step';
  return { json, text: `${how === 'pause' ? 'paused' : 'revoked'} ${id}${step}; ${next}${silent}` };
}

async function resume({ engine }: EngineSession, { id, force }: Request): Promise<Outcome> {
  const answer = await engine.resume(id, { actor: currentUser(), force });
  if (!answer.resumed) {
    const { status, resume_lock } = await engine.show(id);
    if (resume_lock !== null)
      throw new LongshoreError(
        'E_WORKFLOW_STATE',
        `workflow ${id} is being resumed already, since ${moment(resume_lock)}`,
      );
    throw wrongState(id, status, 'resume');
  }
  const text = `resumed ${id} at step "${answer.restarted_step?.name ?? '?'}"`;
  return { json: { workflow_id: id, ...answer }, text };
}

/** @throws E_WORKFLOW_STATE where the command would be refused */
async function preview({ store }: EngineSession, { id, how, force }: Request): Promise<Outcome> {
  const found = await store.records.workflowWithRuns(id);
  if (found === null) throw new LongshoreError('E_WORKFLOW_NOT_FOUND', `there is no workflow ${id}`);
  const { name, status, steps, steps_done } = toServed(found);
  if (!APPLIES[how].includes(status) && !(force && status !== 'SUCCESS')) throw wrongState(id, status, how);
  const step = steps[steps_done]?.name ?? null;
  return {
    json: { dry_run: true, would: how, workflow_id: id, name, status, step },
    text: `would ${how} ${id} (${name}, ${status}) at step "${step}" (dry run: nothing was changed)`,
  };
}

/** As the moves of a run in workers/records/transition.ts have it, for the workflow's status. */
const APPLIES: Readonly<Record<How, readonly WorkflowStatus[]>> = {
  pause: ['PENDING', 'STARTED'],
  revoke: ['PENDING', 'STARTED', 'FAILURE', 'REVOKED'],
  resume: ['FAILURE', 'REVOKED'],
};

function wrongState(id: string, status: string, how: string): LongshoreError {
  const hint =
    how === 'resume' && (status === 'STARTED' || status === 'PENDING')
      ? 'It is at work. With --force the step that runs is given up and started anew.'
      : undefined;
  return new LongshoreError(
    'E_WORKFLOW_STATE',
    `workflow ${id} is ${status}; there is nothing to ${how}`,
    hint === undefined ? {} : { hint },
  );
}
