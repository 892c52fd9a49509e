import { z } from 'zod';
import { count, percent, seconds } from './scalars.ts';

/** Slots of one worker process. */
export const autoscale = z
  .strictObject({
    min: z.int().min(1),
    max: z.int().min(1),
    /** Slots that were not in use for so long are given up. */
    idle_seconds: z.number().positive(),
    /** So long after memory was short growth begins again. */
    calm_seconds: seconds,
    /** From here on a worker takes no more slots. Null: never for this reason. See docs/scaling.md. */
    hold: z.strictObject({
      cpu_percent: percent,
      io_percent: percent,
      memory_stall_percent: percent,
      memory_used_percent: percent,
    }),
    /** From here on it gives up all slots above min. */
    shrink: z.strictObject({ memory_stall_percent: percent, memory_used_percent: percent }),
    /** From here on it also hands back the jobs above min that run, the youngest first, one after the other. */
    hand_back: z.strictObject({ memory_used_percent: percent }),
  })
  .refine((scale) => scale.min <= scale.max, 'expected min to be at most max');

/** Worker processes of a host under pm2, see docs/scaling.md. Scaled by themselves where max is above min. */
export const instances = z
  .strictObject({
    /** How many of the usual app pm2 starts here; beats its own `instances`. A variable knows only texts. */
    start: z.union(
      [
        count.nullable(),
        z
          .string()
          .regex(/^\d{1,4}$/)
          .transform(Number),
      ],
      {
        error: 'expected a whole number',
      },
    ),
    min: z.int().min(1),
    max: z.int().min(1),
    /** One more when a job has waited for so long. */
    age_seconds: z.number().positive(),
    /** One fewer when one was not needed for so long. */
    idle_seconds: z.number().positive(),
  })
  .refine((instances) => instances.min <= instances.max, 'expected min to be at most max');

/** How a worker is known to be alive. */
export const fleet = z.strictObject({
  /** How often a worker says how it is. It counts as dead after five that are missing (5 s at least). */
  heartbeat_seconds: z.number().min(0.1),
  /** A worker with free slots that has not asked its queue for this long, though Redis answers, restarts itself. */
  watchdog_seconds: z.number().min(5),
  /** A worker whose event loop has not turned for this long kills itself, and is started again. Null: never. */
  hang_seconds: z.number().min(1).nullable(),
});
