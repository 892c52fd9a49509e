/** Datasets behind the REST API, workflows and what the API cannot store in a companion of this installation. */
import type { Config } from '../config/index.ts';
import { openApi } from './bioloop/endpoints.ts';
import type { Companion } from './catalog/mirror.ts';
import { type RestCatalog, restCatalog } from './catalog/rest.ts';
import type { Spool } from './catalog/rest-spool.ts';
import { createLogger } from './log.ts';
import type { Records } from './records/contract.ts';

/**
 * The API inserts the row of a workflow that was started through it after the workflow server has answered. Ours comes
 * after that, when it is still missing, or the API would find its own a duplicate.
 */
const LINK_AFTER_MS = 20_000;

export interface RestStore {
  readonly catalog: RestCatalog;
  readonly records: Records;
  close(): Promise<void>;
}

/** @throws E_CONFIG that names API_BASE_URL or APP_API_TOKEN */
export async function openRest(
  config: Config,
  own: { companion: Companion; records: Records; spool: Spool; close: () => Promise<void> },
): Promise<RestStore> {
  const log = createLogger('rest-catalog', {}, { to: 2 });
  const { delay_scale } = config.api;
  try {
    const api = openApi(config, { delay_scale, log });
    const catalog = restCatalog({ config, api, companion: own.companion, spool: own.spool, log });
    return {
      catalog,
      records: toldRecords(own.records, catalog, LINK_AFTER_MS * delay_scale),
      close: async () => {
        await catalog.close();
        await own.close();
      },
    };
  } catch (error) {
    await own.spool.close();
    await own.close();
    throw error;
  }
}

/** Records whose workflows and logs the API hears of. */
const toldRecords = (records: Records, catalog: RestCatalog, after_ms: number): Records => ({
  ...records,
  createWorkflow: async (workflow, options) => {
    const other = await records.createWorkflow(workflow, options);
    const { dataset_id } = workflow;
    if (other === null && dataset_id !== null && dataset_id !== undefined)
      await catalog.linkWorkflow(dataset_id, workflow.id, Date.now() + after_ms);
    return other;
  },
  registerProcess: async (process) => {
    const id = await records.registerProcess(process);
    // A task that works on no dataset's behalf is a plain one to the API, which knows no workflow of it.
    const workflow = process.workflow_id === null ? null : await records.workflow(process.workflow_id);
    const plain = workflow !== null && workflow.dataset_id === null;
    await catalog.logs.process(id, plain ? { ...process, workflow_id: null } : process);
    return id;
  },
  facilityProcess: (process_id) => catalog.spool.processOf(process_id),
  appendLogs: async (process_id, lines) => {
    await records.appendLogs(process_id, lines);
    await catalog.logs.lines(process_id, lines);
  },
});
