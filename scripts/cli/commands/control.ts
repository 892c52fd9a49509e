import type { Command } from 'commander';
import { LongshoreError } from '../../../workers/errors.ts';
import { toServed } from '../../../workers/workflows/status.ts';
import { findWorkflow } from '../find.ts';
import { dryRunBesideArguments, helpTail, jsonOption } from '../program.ts';
import { currentUser, type EngineSession, printJson, withEngine } from '../session.ts';

interface Options {
  force?: boolean;
  dryRun?: boolean;
  json?: boolean;
}

/** pause, revoke, resume. */
export function addControl(program: Command): void {
  command(program, 'pause', 'stop the step that runs or is next; resume goes on with it').action(
    (id: string, options: Options) => withEngine((session) => stop(session, id, 'pause', options)),
  );
  command(
    program,
    'revoke',
    'stop it and take the rest of it out of the queue; dismiss one that has failed',
  ).action((id: string, options: Options) => withEngine((session) => stop(session, id, 'revoke', options)));
  command(program, 'resume', 'go on with a workflow that failed or was stopped')
    .option('--force', 'also when a step is said to be running (after an outage of its worker)')
    .action((id: string, options: Options) => withEngine((session) => resume(session, id, options)));
}

function command(program: Command, name: string, description: string): Command {
  return program
    .command(name)
    .argument('<id>', 'id of a workflow, or id or name of a dataset: its active or newest workflow')
    .description(description)
    .addOption(dryRunBesideArguments())
    .addOption(jsonOption())
    .addHelpText(
      'after',
      helpTail([`longshore ${name} 3d9ed8a4-5438-4b6b-af14-f6193186c136`, `longshore ${name} run_17`]),
    );
}

async function stop(
  session: EngineSession,
  text: string,
  how: 'pause' | 'revoke',
  { dryRun, json }: Options,
): Promise<void> {
  const id = await findWorkflow(session.store, text);
  if (dryRun) return preview(session, id, how, json);
  const answer = await session.engine[how](id, { actor: currentUser() });
  const { status } = await session.engine.show(id);
  // A revoke of what has failed or is paused takes out the rest of it.
  const changed = answer.paused || (how === 'revoke' && (status === 'FAILURE' || status === 'REVOKED'));
  if (!changed) throw wrongState(id, status, how);
  const dismissed = !answer.paused && status === 'FAILURE';
  if (json) return printJson({ workflow_id: id, ...answer, ...(dismissed ? { dismissed } : {}) });
  if (dismissed) {
    process.stdout.write(
      `dismissed ${id}: it has failed before and stays FAILURE, and waits for nobody any more; resume starts it again from its step\n`,
    );
    return;
  }
  const step = answer.revoked_step === undefined ? '' : ` at step "${answer.revoked_step.name}"`;
  const silent =
    answer.process === 'silent' ? '. Its worker did not answer; the task may publish nothing any more' : '';
  const next = how === 'pause' ? 'resume goes on with it' : 'resume starts it again from this step';
  process.stdout.write(`${how === 'pause' ? 'paused' : 'revoked'} ${id}${step}; ${next}${silent}\n`);
}

async function resume(session: EngineSession, text: string, options: Options): Promise<void> {
  const { engine } = session;
  const id = await findWorkflow(session.store, text);
  if (options.dryRun) return preview(session, id, 'resume', options.json);
  const answer = await engine.resume(id, { actor: currentUser(), force: options.force ?? false });
  if (!answer.resumed) {
    const { status, resume_lock } = await engine.show(id);
    if (resume_lock !== null)
      throw new LongshoreError(
        'E_WORKFLOW_STATE',
        `workflow ${id} is being resumed already, since ${resume_lock}`,
      );
    throw wrongState(id, status, 'resume');
  }
  if (options.json) return printJson({ workflow_id: id, ...answer });
  process.stdout.write(`resumed ${id} at step "${answer.restarted_step?.name ?? '?'}"\n`);
}

async function preview({ store }: EngineSession, id: string, what: string, json = false): Promise<void> {
  const found = await store.records.workflowWithRuns(id);
  if (found === null) throw new LongshoreError('E_WORKFLOW_NOT_FOUND', `there is no workflow ${id}`);
  const { name, status, steps, steps_done } = toServed(found);
  const step = steps[steps_done]?.name ?? null;
  if (json) return printJson({ dry_run: true, would: what, workflow_id: id, name, status, step });
  const where = step === null ? 'it has succeeded' : `at step "${step}"`;
  process.stdout.write(`would ${what} ${id} (${name}, ${status}), ${where} (dry run: nothing was changed)\n`);
}

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
