/**
 * The catalog behind the facility's REST API: datasets, states, file rows and bundles are there, and what it cannot store
 * is in the companion. See docs/rest-catalog.md.
 */
import type { Config } from '../../config/index.ts';
import type { BioloopApi } from '../bioloop/endpoints.ts';
import type { Logger } from '../log.ts';
import type { Catalog } from './contract.ts';
import type { Companion } from './mirror.ts';
import { carryOut, datasetsBehind, knownDatasets } from './rest-datasets.ts';
import { createDelivery } from './rest-delivery.ts';
import { BATCH_BYTES, filesBehind } from './rest-files.ts';
import { registrationBehind } from './rest-registration.ts';
import { type LogTelling, logTelling, tellLines, tellProcess } from './rest-logs.ts';
import type { Spool } from './rest-spool.ts';

export interface RestCatalog extends Catalog {
  /** Has the API told of a workflow that was not registered with its dataset; `due_at` in ms of the epoch. */
  linkWorkflow(dataset_id: number, workflow_id: string, due_at: number): Promise<void>;
  readonly spool: Spool;
  /** Has the API told what programs print. */
  readonly logs: LogTelling;
}

export function restCatalog(parts: {
  config: Config;
  api: BioloopApi;
  companion: Companion;
  /** Closed with the catalog. */
  spool: Spool;
  log: Logger;
}): RestCatalog {
  const { config, api, companion, spool, log } = parts;
  const scale = config.api.delay_scale;
  const delivery = createDelivery({
    spool,
    carryOut: (entry, doubtful) => {
      if (entry.kind === 'process') return tellProcess({ api, spool, scale }, entry);
      if (entry.kind === 'lines') return tellLines({ api, spool, log }, entry);
      return carryOut(api, entry, doubtful);
    },
    log,
    scale,
  });
  const behind = { api, companion, delivery };
  const known = knownDatasets(behind);
  const datasets = datasetsBehind(behind, known, (lanes) => spool.busy(lanes));
  const limits = {
    batch_rows: config.inspect.file_metadata_batch_size,
    batch_bytes: BATCH_BYTES,
    patience_seconds: config.api.patience_seconds,
    scale,
  };
  const { catalog } = companion;
  return {
    capabilities: { atomicRegistration: false, memberDigests: ['md5'] },
    ...registrationBehind(behind, known),
    ...datasets,
    ...filesBehind(behind, known, datasets.patch, limits, log),
    putCopy: async (id, copy) => {
      await known.ensure(id);
      await catalog.putCopy(id, copy);
    },
    copies: (id) => catalog.copies(id),
    removeCopy: (id, archive) => catalog.removeCopy(id, archive),
    leastProven: (limit) => catalog.leastProven(limit),
    withoutCopies: (limit) => catalog.withoutCopies(limit),
    fixity: (query) => catalog.fixity(query),
    addProof: (proof) => catalog.addProof(proof),
    proofs: (query) => catalog.proofs(query),
    namedWorkflows: async () => {
      const known = (await api.currentWorkflows()).map(({ id }) => id);
      // An empty list stays one: whoever purges by it has to see that.
      if (known.length === 0) return [];
      return [...known, ...(await spool.bodiesOf('link')).map(({ workflow_id }) => String(workflow_id))];
    },
    putMetrics: async (metrics) => void (await api.createMetrics(metrics)),
    spool,
    logs: logTelling(spool),
    linkWorkflow: async (dataset_id, workflow_id, due_at) => {
      await spool.add({
        lane: `workflow:${workflow_id}`,
        kind: 'link',
        body: { id: dataset_id, workflow_id, late: true },
        due_at,
      });
    },
    close: async () => {
      await delivery.stop();
      await spool.close();
      api.close();
    },
  };
}
