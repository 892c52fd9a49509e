import { z } from 'zod';

const ids = z.array(z.int().positive());

/** Of what comes in by the facility's web pages, see docs/uploads.md. */
export const uploads = z.strictObject({
  /** An upload that is not complete has failed when nothing of it has arrived for so long. */
  stale_uploading_hours: z.number().positive(),
  /** A verification that nobody is at work on has failed after this; one at work ends by the limits of its task. */
  verification_timeout_hours: z.number().positive(),
  /** Who is told of uploads that failed for good (enabled_features.notifications), by the API's ids. */
  notify: z.strictObject({ role_ids: ids, user_ids: ids }),
});
