/** The manager of uploads with real parts around it: the engine on Redis, records in SQLite, the API's double. */
import { onTestFinished } from 'vitest';
import { manageUploads } from '../../scripts/uploads/manage.ts';
import { openApi } from '../../workers/bioloop/endpoints.ts';
import { createLogger } from '../../workers/log.ts';
import type { AttemptKey, Records } from '../../workers/records/contract.ts';
import { openStore } from '../../workers/store.ts';
import type { Uploads } from '../../workers/uploads/contract.ts';
import { restUploads } from '../../workers/uploads/rest.ts';
import { createEngine, type Engine } from '../../workers/workflows/engine.ts';
import { makeUploads } from '../support/uploads.ts';

export const FILES = { 'a-b': 'one' };
/** Counts of a run that did nothing. */
export const NONE = {
  verification_spawned: 0,
  verified_triggered: 0,
  verification_failed: 0,
  failed_retried: 0,
  permanently_failed: 0,
  stale_uploading_failed: 0,
  errors: 0,
};

export async function makeManager(overrides: Record<string, unknown> = {}) {
  const ground = await makeUploads(overrides);
  const { config } = ground.place;
  const log = createLogger('test', {}, { level: 'silent' });
  const store = await openStore({ ...config, catalog: { ...config.catalog, backend: 'sqlite' } });
  const engine = await createEngine({ config, store, log });
  const uploads = restUploads(openApi(config, { delay_scale: 0.001 }));
  onTestFinished(async () => {
    uploads.close();
    await engine.close();
    await store.close();
  });
  const { records } = store;
  const parts = { config, uploads, records, engine, log };
  const manage = (given: { dry_run?: boolean; engine?: Engine; uploads?: Uploads } = {}) => {
    const { dry_run = false, ...others } = given;
    return manageUploads({ ...parts, ...others }, { max_retries: 3, dry_run });
  };
  const workflows = async (dataset_id: number, name: string) =>
    (await records.listWorkflows({ dataset_id, name })).results.map(({ workflow }) => workflow);
  return { ...ground, ...parts, store, manage, workflows };
}

/** What a worker does with the first step of this workflow: begins… */
export async function begin(records: Records, id: string): Promise<AttemptKey> {
  const verdict = await records.claim(
    { workflow_id: id, index: 0, worker: 'w', host: 'h' },
    { max_losses: 5 },
  );
  if (verdict.verdict !== 'run') throw new Error(`not granted: ${verdict.verdict}`);
  return verdict.key;
}

/** …and ends well, or not. */
export async function end(records: Records, key: AttemptKey, failure?: string): Promise<void> {
  if (failure === undefined) return void (await records.finish(key, { outcome: 'success', result: [1] }));
  const about = { code: 'E_SUBPROCESS', class: 'retryable', hint: '', fields: {}, traceback: '' } as const;
  await records.finish(key, { outcome: 'failure', error: { ...about, message: failure } });
}
