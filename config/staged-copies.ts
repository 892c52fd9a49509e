import { z } from 'zod';
import { count, text } from './scalars.ts';

export const stage = z.strictObject({
  purge: z.strictObject({
    /** Days since a dataset was last staged, after which its staged copy goes. */
    days_to_live: z.number().positive(),
    /** Of one run of purge_staged_datasets, whatever the reason. */
    max_purges: count,
    /** Another lifetime for single dataset types. */
    types: z.record(z.string(), z.strictObject({ days_to_live: z.number().positive() })),
    /** Purging before its time, those staged longest ago first, where a stage file system is full; null: never. */
    pressure: z
      .strictObject({
        /** Percentage in use, as `df` counts it, above which it begins… */
        high_percent: z.number().min(1).max(100),
        /** …and at which it ends. */
        low_percent: z.number().min(0).max(99),
        /** A copy that was staged later is kept however full it is. */
        min_age_days: z.number().min(0),
      })
      .refine((level) => level.low_percent < level.high_percent, 'expected low_percent below high_percent')
      .nullable(),
  }),
  alias_salt: text,
  /** Keep the bundle beside the staged files for download. Off saves one write of every byte. */
  keep_bundle: z.boolean(),
  /** Free space that must remain on the file system after a task's reservation. */
  reserve_bytes: count,
});
