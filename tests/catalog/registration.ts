import type { NewDataset, Registration } from '../../workers/catalog/contract.ts';
import { makeWorkflow } from '../records/workflow.ts';

/** A dataset to register, with a workflow. Free of vitest: other processes use it too. */
export function makeRegistration(given: Partial<NewDataset> = {}): Registration {
  return {
    dataset: { name: 'set', type: 'RAW_DATA', origin_path: '/origin/set', create_method: 'TEST', ...given },
    workflow: (dataset_id) => makeWorkflow({ dataset_id, args: [dataset_id] }),
  };
}
