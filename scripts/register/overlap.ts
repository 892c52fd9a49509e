import type { Overlap } from '../cli/alone.ts';
import type { Candidate } from './candidates.ts';

/**
 * Each folder is registered by one run at a time, whichever script it is. Each registration is one unit that is there or not, so
 * a run whose Redis goes away registers the rest of its folders.
 */
export const registering = (candidates: readonly Candidate[]): Overlap => ({
  script: 'register',
  subjects: candidates.map(({ dataset }) => dataset.origin_path),
  outlives_lock: true,
  wait_seconds: 5,
  without_redis: true,
});
