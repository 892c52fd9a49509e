/** `--dry-run` of whatever starts a workflow. */
import type { Dataset } from '../../../workers/dataset/types.ts';
import { isShort, roomsFor } from '../../plan/space.ts';
import type { Plan } from '../../plan/model.ts';
import { planWorkflow } from '../../plan/plan.ts';
import { showPlan, showSum } from '../plan-view.ts';
import { EXIT } from '../program.ts';
import { printJson, type Session } from '../session.ts';
import type { StartOptions } from './checks.ts';

/** Before this long nobody wonders what is going on. */
const QUIET_MS = 1000;

/** Ends with {@link EXIT.state} when something would stop one of them. */
export async function preview(
  session: Session,
  workflow: string,
  datasets: readonly Dataset[],
  { json = false, force = false }: StartOptions,
): Promise<number> {
  const { config } = session;
  const plans: Plan[] = [];
  for (const dataset of datasets)
    plans.push(await planWorkflow(session, workflow, dataset, { force, onWait: waitTeller() }));
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

/** To stderr, and only when it is slow. */
function waitTeller(): (what: string) => void {
  const began = Date.now();
  return (what) => {
    if (Date.now() - began > QUIET_MS) process.stderr.write(`${what} …\n`);
  };
}
