/** Datasets behind the REST API, workflows and what the API cannot store in a companion of this installation. */
import type { Config } from '../config/index.ts';
import { openApi } from './bioloop/endpoints.ts';
import type { Companion } from './catalog/mirror.ts';
import { type RestCatalog, restCatalog } from './catalog/rest/catalog.ts';
import type { Spool } from './catalog/rest/spool.ts';
import { createLogger } from './log.ts';
import type { Records, WorkflowDocument } from './records/contract.ts';

/**
 * The API inserts the row of a workflow that was started through it after the workflow server has answered. Ours comes
 * after that, when it is still missing, or the API would find its own a duplicate.
 */
const LINK_AFTER_MS = 20_000;
/** The API starts none that follows another: its link waits only for its record, which is written after it. */
const FOLLOWER_AFTER_MS = 1_000;

/** What the API cannot do without on this side. */
export interface RestCompany {
  readonly companion: Companion;
  readonly records: Records;
  readonly spool: Spool;
  close(): Promise<void>;
}

export interface RestStore {
  readonly catalog: RestCatalog;
  readonly records: Records;
  close(): Promise<void>;
}

/** @throws E_CONFIG that names API_BASE_URL or APP_API_TOKEN */
export async function openRest(config: Config, own: RestCompany): Promise<RestStore> {
  const log = createLogger('rest-catalog', {}, { to: 2 });
  const { delay_scale } = config.api;
  try {
    const api = openApi(config, { delay_scale, log });
    const isRecorded = async (id: string): Promise<boolean> => (await own.records.workflow(id)) !== null;
    const { companion, spool } = own;
    const catalog = restCatalog({ config, api, companion, spool, isRecorded, log });
    return {
      catalog,
      records: toldRecords(own.records, catalog, delay_scale),
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
const toldRecords = (records: Records, catalog: RestCatalog, scale: number): Records => ({
  ...records,
  createWorkflow: async (workflow, options) => {
    const link = await linkOf(catalog, workflow, LINK_AFTER_MS * scale);
    const other = await records.createWorkflow(workflow, options);
    if (other !== null) await withdraw(catalog, [link]);
    return other;
  },
  finish: async (key, finish) => {
    const followers = finish.outcome === 'success' ? (finish.then ?? []) : [];
    const links: (number | null)[] = [];
    for (const one of followers) links.push(await linkOf(catalog, one, FOLLOWER_AFTER_MS * scale));
    const finished = await records.finish(key, finish);
    // Not the last step, or one that somebody else has finished.
    if (finished?.next !== null) await withdraw(catalog, links);
    return finished;
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

/** Null: it works on no dataset's behalf. */
async function linkOf(
  { links }: RestCatalog,
  { id, dataset_id }: WorkflowDocument,
  after_ms: number,
): Promise<number | null> {
  return dataset_id === null ? null : await links.add(dataset_id, id, Date.now() + after_ms);
}

async function withdraw({ links }: RestCatalog, entries: readonly (number | null)[]): Promise<void> {
  for (const entry of entries) if (entry !== null) await links.withdraw(entry);
}
