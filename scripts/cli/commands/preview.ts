/** `--dry-run` of whatever starts a workflow. */
import type { Dataset } from '../../../workers/dataset/types.ts';
import { isShort, roomsFor } from '../../plan/space.ts';
import type { Plan } from '../../plan/model.ts';
import { planWorkflow } from '../../plan/plan.ts';
import { showPlan, showSum } from '../plan-view.ts';
import { EXIT } from '../program.ts';
import { printJson, type Session } from '../session.ts';
import { startWaiting } from '../waiting.ts';
import type { StartOptions } from './checks.ts';

/** Ends with {@link EXIT.state} when something would stop one of them. */
export async function preview(
  session: Session,
  workflow: string,
  datasets: readonly Dataset[],
  { json = false, force = false }: StartOptions,
): Promise<number> {
  const { config } = session;
  const plans: Plan[] = [];
  const waiting = startWaiting();
  for (const dataset of datasets)
    plans.push(await planWorkflow(session, workflow, dataset, { force, onWait: (what) => waiting.on(what) }));
  waiting.over();
  const moving = plans.filter(({ would }) => would === 'start' || would === 'stop');
  const space = roomsFor(
    config,
    moving.flatMap(({ steps }) => steps.flatMap(({ needs }) => needs)),
  );
  if (json) printJson({ dry_run: true, workflow, plans, space });
  else {
    for (const plan of plans) showPlan(process.stdout, plan);
    if (plans.length > 1) showSum(process.stdout, plans, space);
    process.stdout.write('dry run: nothing was changed\n');
  }
  const stopped = plans.some(({ would }) => would === 'stop') || space.some(isShort);
  return stopped ? EXIT.state : EXIT.ok;
}
