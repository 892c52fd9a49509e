import type { Config } from '../../config/index.ts';
import type { Logger } from '../log.ts';
import type { Chains } from '../queue/chain.ts';
import type { Records, WorkflowDocument, WorkflowInHand } from '../records/contract.ts';
import { stableId } from '../records/stable-id.ts';
import { buildWorkflow } from './definition.ts';
import { enqueue } from './reconcile.ts';

/**
 * What config.workflow_registry names under `then`, for the same dataset: recorded together with the success of the
 * last step, so that no crash comes in between. The id of each follows from the finished workflow and the name.
 */
export function followersOf(config: Config, finished: WorkflowInHand, log: Logger): WorkflowDocument[] {
  return followerNames(config, finished).flatMap((name) => {
    const id = followerId(finished.id, name);
    try {
      const initiator = `workflow:${finished.id}`;
      return [buildWorkflow(config, name, { id, dataset_id: finished.dataset_id, initiator })];
    } catch (error) {
      // The finished workflow stays finished, whatever is wrong with the definition of the next.
      const about = { err: error, workflow_id: finished.id, follower: name };
      log.error(about, 'the workflow that follows did not start');
      return [];
    }
  });
}

/** Queues those that were recorded; what a crash leaves out is found by the next reconciliation. */
export async function enqueueFollowers(
  config: Config,
  records: Records,
  chains: Chains,
  finished: WorkflowInHand,
): Promise<void> {
  for (const name of followerNames(config, finished))
    await enqueue(followerId(finished.id, name), records, chains);
}

const followerNames = (config: Config, { name }: WorkflowInHand): readonly string[] =>
  name !== null && Object.hasOwn(config.workflow_registry, name)
    ? (config.workflow_registry[name]?.then ?? [])
    : [];

export const followerId = (finished_id: string, name: string): string => stableId(`${finished_id}\0${name}`);
