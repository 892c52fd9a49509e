/**
 * The catalog behind the facility's REST API: datasets, states, file rows and bundles are there, and what it cannot store
 * is in the companion. See docs/rest-catalog.md.
 */
import type { Config } from '../../../config/index.ts';
import type { BioloopApi } from '../../bioloop/endpoints.ts';
import type { Logger } from '../../log.ts';
import type { Catalog } from '../contract.ts';
import type { Companion } from '../mirror.ts';
import { carryOut, datasetsBehind, knownDatasets } from './datasets.ts';
import { createDelivery } from './delivery.ts';
import { BATCH_BYTES, filesBehind } from './files.ts';
import { type LinkTelling, linkTelling, tellLink } from './links.ts';
import { registrationBehind } from './registration.ts';
import { type LogTelling, logTelling, tellLines, tellProcess } from './logs.ts';
import type { Spool } from './spool.ts';

export interface RestCatalog extends Catalog {
  /** Has the API told of workflows that were not registered with their dataset. */
  readonly links: LinkTelling;
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
  /** The records have a workflow of this id. */
  isRecorded: (workflow_id: string) => Promise<boolean>;
  log: Logger;
}): RestCatalog {
  const { config, api, companion, spool, isRecorded, log } = parts;
  const scale = config.api.delay_scale;
  const delivery = createDelivery({
    spool,
    carryOut: (entry, doubtful) => {
      if (entry.kind === 'process') return tellProcess({ api, spool, scale }, entry);
      if (entry.kind === 'lines') return tellLines({ api, spool, log }, entry);
      if (entry.kind === 'link') return tellLink({ api, isRecorded, scale }, entry, doubtful);
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
    holdings: () => catalog.holdings(),
    addProof: (proof) => catalog.addProof(proof),
    proofs: (query) => catalog.proofs(query),
    namedWorkflows: async () => {
      // Before the list: what is told in between stands there then.
      const waiting = (await spool.bodiesOf('link')).map(({ workflow_id }) => String(workflow_id));
      const known = (await api.currentWorkflows()).map(({ id }) => id);
      // An empty list stays one: whoever purges by it has to see that.
      return known.length === 0 ? [] : [...known, ...waiting];
    },
    putMetrics: async (metrics) => void (await api.createMetrics(metrics)),
    untold: async () => ({ changes: await spool.waiting(), since: await spool.oldest() }),
    spool,
    logs: logTelling(spool),
    links: linkTelling(spool),
    close: async () => {
      await delivery.stop();
      await spool.close();
      api.close();
    },
  };
}
