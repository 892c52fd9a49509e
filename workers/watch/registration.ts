import { createHash } from 'node:crypto';
import type { Config } from '../../config/index.ts';
import type { Catalog, NewDataset, Registration } from '../catalog/contract.ts';
import { MAX_NAME_BYTES } from '../dataset/paths.ts';
import type { Dataset } from '../dataset/types.ts';
import { coerceError, type LongshoreError } from '../errors.ts';
import type { Logger } from '../log.ts';
import type { WorkflowDocument } from '../records/contract.ts';
import { type AdHocWorkflow, buildWorkflow } from '../workflows/definition.ts';

/**
 * Registration of datasets with their workflow. It may be repeated at any time and be killed anywhere:
 *
 * | what the catalog has                                    | outcome     | effect                       |
 * | ------------------------------------------------------- | ----------- | ---------------------------- |
 * | nothing of that name and type                           | `created`   | dataset and workflow, queued |
 * | the same origin, no workflow and nothing landed yet     | `completed` | workflow attached, queued    |
 * | the same origin                                         | `present`   | none                         |
 * | another origin under that name (or one that came to it) | `taken`     | none                         |
 */
export type RegistrationOutcome =
  | {
      readonly outcome: 'created' | 'completed';
      readonly dataset: Dataset;
      readonly workflow_id: string | null;
    }
  | { readonly outcome: 'present' | 'taken'; readonly dataset: Dataset; readonly workflow_id?: never }
  | { readonly outcome: 'failed'; readonly error: LongshoreError };

/** In a dry run: it would be registered, and is not. */
export interface Foreseen {
  readonly outcome: 'foreseen';
}

export interface RegistrationOptions {
  /** Started for each dataset; null registers only. */
  workflow: string | AdHocWorkflow | null;
  start_kwargs?: Readonly<Record<string, unknown>>;
  /** Stands in the audit trail. */
  actor: string;
  signal?: AbortSignal;
}

export interface Registrar {
  /** One outcome for each item, in order. An item that fails does not touch the others. */
  register(items: readonly NewDataset[], options: RegistrationOptions): Promise<RegistrationOutcome[]>;
}

export function createRegistrar(parts: {
  config: Config;
  catalog: Catalog;
  /** Puts a recorded workflow into the queue. Failing is no loss: workers look for what is missing there. */
  enqueue: (workflow_id: string) => Promise<unknown>;
  log: Logger;
}): Registrar {
  const { config, catalog, log } = parts;

  const build = (dataset_id: number, options: RegistrationOptions): WorkflowDocument =>
    buildWorkflow(config, options.workflow ?? '', {
      dataset_id,
      initiator: options.actor,
      ...(options.start_kwargs === undefined ? {} : { start_kwargs: options.start_kwargs }),
    });

  async function complete(
    item: NewDataset,
    dataset: Dataset,
    options: RegistrationOptions,
  ): Promise<RegistrationOutcome> {
    if (dataset.origin_path !== item.origin_path) return { outcome: 'taken', dataset };
    if (options.workflow === null || !neverStarted(dataset)) return { outcome: 'present', dataset };
    const workflow = build(dataset.id, options);
    const attached = await catalog.attachWorkflow(dataset.id, workflow);
    return attached
      ? { outcome: 'completed', dataset, workflow_id: workflow.id }
      : { outcome: 'present', dataset };
  }

  async function registerBatch(
    items: readonly NewDataset[],
    options: RegistrationOptions,
  ): Promise<RegistrationOutcome[]> {
    const requests = items.map(
      (dataset): Registration =>
        options.workflow === null ? { dataset } : { dataset, workflow: (id) => build(id, options) },
    );
    const answers = await catalog.register(requests, options.actor);
    const outcomes: RegistrationOutcome[] = [];
    for (const [at, answer] of answers.entries()) {
      if (answer.outcome === 'created') outcomes.push(answer);
      else if (answer.outcome === 'errored')
        outcomes.push({ outcome: 'failed', error: coerceError(answer.error) });
      else
        outcomes.push(await complete(items[at] as NewDataset, answer.dataset, options).catch(failedOutcome));
    }
    return outcomes;
  }

  /** False: the queue is out of reach, and asking again for each workflow would wait for it each time. */
  async function enqueueAll(outcomes: readonly RegistrationOutcome[]): Promise<boolean> {
    for (const one of outcomes) {
      if (one.outcome === 'failed' || !one.workflow_id) continue;
      try {
        await parts.enqueue(one.workflow_id);
      } catch (error) {
        log.warn(
          { workflow_id: one.workflow_id, dataset_id: one.dataset.id, err: error },
          'recorded but not queued yet; the workers will put it and what follows into the queue',
        );
        return false;
      }
    }
    return true;
  }

  return {
    async register(items, options) {
      // Before the first write: an unknown workflow would fail every item, each with the same words.
      if (options.workflow !== null) build(0, options);
      const outcomes: RegistrationOutcome[] = [];
      let reachable = true;
      const size = config.registration.batch_size;
      for (let at = 0; at < items.length; at += size) {
        options.signal?.throwIfAborted();
        const done = await registerBatch(items.slice(at, at + size), options);
        reachable &&= await enqueueAll(done);
        outcomes.push(...done);
      }
      return outcomes;
    },
  };
}

/** A crash (or a catalog that writes the two apart) left it without its workflow. One that has landed keeps to itself. */
function neverStarted(dataset: Dataset): boolean {
  return (
    (dataset.workflows ?? []).length === 0 &&
    dataset.archive_path === null &&
    !dataset.is_staged &&
    !dataset.is_deleted
  );
}

/** Of one that the catalog has listed: its registration by the same origin would give it a workflow. */
export const lacksWorkflow = async (catalog: Pick<Catalog, 'get'>, id: number): Promise<boolean> =>
  neverStarted(await catalog.get(id, { workflows: true }));

const failedOutcome = (error: unknown): RegistrationOutcome => ({
  outcome: 'failed',
  error: coerceError(error),
});

/**
 * The name under which a folder is to be recorded. File names are made from it (`{name}.{type}.tar`), so one that is
 * too long for that keeps its beginning and gets a digest of the whole as its end: the same folder, the same name.
 * A name without a single letter or digit of ASCII (`试验`) would be recorded as `-`, like every other of its kind.
 */
export function datasetNameOf(folder: string): string {
  const nameless = !/[A-Za-z0-9]/.test(folder);
  if (!nameless && Buffer.byteLength(folder) <= MAX_NAME_BYTES) return folder;
  const digest = createHash('sha256').update(folder).digest('hex').slice(0, 12);
  if (nameless) return `dataset-${digest}`;
  let head = folder.slice(0, MAX_NAME_BYTES - 13);
  while (Buffer.byteLength(head) > MAX_NAME_BYTES - 13) head = head.slice(0, -1);
  return `${head.replace(/[\ud800-\udbff]$/u, '')}-${digest}`;
}
