import type { Config } from '../../config/index.ts';
import type { Logger } from '../log.ts';
import type { ShareOf } from '../queue/fair-share.ts';
import type { Store } from '../store.ts';

const METADATA = 'metadata.';

/**
 * Whose share the work on a dataset is taken from, as config.queue.share_by says. What has no project shares one share.
 * A catalog that does not answer costs fairness, not the workflow.
 */
export function shareOf(config: Config, { catalog }: Store, log: Logger): ShareOf {
  const by = config.queue.share_by;
  return async (dataset_id) => {
    if (by === null || dataset_id === null) return '';
    try {
      const dataset = await catalog.get(dataset_id);
      if (by === 'project') return dataset.project_id ?? '';
      if (by === 'type') return dataset.type;
      return textOf(dataset.metadata[by.slice(METADATA.length)]);
    } catch (error) {
      log.debug({ err: error, dataset_id }, 'whose share a dataset belongs to could not be read');
      return '';
    }
  };
}

const textOf = (value: unknown): string =>
  typeof value === 'string' || typeof value === 'number' ? String(value) : '';
