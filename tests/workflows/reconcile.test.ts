/** What is put into the queue, and taken out, when the records change meanwhile. */
import { expect, onTestFinished, test } from 'vitest';
import { createLogger } from '../../workers/log.ts';
import type { Chains } from '../../workers/queue/chain.ts';
import type { WorkflowDocument } from '../../workers/records/contract.ts';
import { openStore } from '../../workers/store.ts';
import { deleteWorkflow } from '../../workers/workflows/delete.ts';
import type { Ground } from '../../workers/workflows/queue-reach.ts';
import { reconcile, takeOut } from '../../workers/workflows/reconcile.ts';
import { makeWorkflow } from '../records/workflow.ts';
import { makePlace } from '../support/place.ts';

const PAUSE = { actor: 'ana', take_out: false };
const RESUME = { actor: 'ben', force: false, lock_seconds: 60 };
const log = createLogger('test', {}, { level: 'fatal' });

/** Real records, and a queue of which is noted what it is told. */
async function makeGround(remove: Chains['remove'] = async () => true) {
  const { config } = await makePlace();
  const store = await openStore(config);
  onTestFinished(() => store.close());
  const ensured: string[] = [];
  const chains = {
    suspects: async (candidates: readonly unknown[]) => candidates.map(() => true),
    ensure: async ({ id }: WorkflowDocument) => {
      ensured.push(id);
      return 'added';
    },
    remove,
  } as unknown as Chains;
  const ground = { config, store, log, side: async () => ({ chains }) } as unknown as Ground;
  return { config, records: store.records, chains, ground, ensured };
}

async function makePaused(
  { records }: Pick<Ground['store'], 'records'>,
  app_id: string,
): Promise<WorkflowDocument> {
  const workflow = makeWorkflow({ app_id });
  await records.createWorkflow(workflow);
  await records.pause(workflow.id, PAUSE);
  return workflow;
}

test('every workflow that ought to run is looked at, page after page, and none of another installation', async () => {
  const { config, records, chains, ensured } = await makeGround();
  const own = Array.from({ length: 501 }, () => makeWorkflow({ app_id: config.app_id }));
  const others = Array.from({ length: 20 }, () => makeWorkflow({ app_id: 'another' }));
  await Promise.all([...own, ...others].map((workflow) => records.createWorkflow(workflow)));
  const report = await reconcile(config, records, chains, log);
  expect(report.looked_at).toBe(501);
  expect(ensured.toSorted()).toEqual(own.map(({ id }) => id).toSorted());
  expect(report.repaired.toSorted()).toEqual(ensured.toSorted());
  const dry = await reconcile(config, records, chains, log, { dry_run: true });
  expect([dry.repaired.length, ensured.length]).toEqual([501, 501]);
});

test('what was resumed by the time its turn comes is not taken out', async () => {
  const wanted: boolean[] = [];
  const ground = await makeGround(async (_, still = async () => true) => {
    wanted.push(await still());
    return true;
  });
  const workflow = await makePaused(ground, ground.config.app_id);
  await takeOut(workflow, ground.records, ground.chains);
  await ground.records.resume(workflow.id, RESUME);
  await takeOut(workflow, ground.records, ground.chains);
  expect(wanted).toEqual([true, false]);
});

test('one that is resumed while it is deleted as idle stays, and keeps its place in the queue', async () => {
  const ground = await makeGround(async ({ id }) => {
    await ground.records.resume(id, RESUME);
    return true;
  });
  const { id } = await makePaused(ground, ground.config.app_id);
  const answer = await deleteWorkflow(ground.ground, id, { actor: 'purge', unless_running: true });
  expect(answer).toEqual({ deleted_count: 0 });
  expect(await ground.records.workflow(id)).not.toBeNull();
  expect(ground.ensured).toEqual([id]);
});
