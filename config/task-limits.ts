import { z } from 'zod';

/** What one attempt of a task may take. `task.*` holds for all, a task's own declaration beats it, `task.limits.<name>` both. */
export const taskLimits = z.strictObject({
  /** Hard: its process group is ended (SIGTERM, then SIGKILL after kill_grace_seconds) and it is retried as E_TIMEOUT. */
  time_limit_seconds: z.number().positive(),
  /** Its signal is aborted with E_TIMEOUT, so that it can keep what it has. Null, or not below the hard one: none. */
  soft_time_limit_seconds: z.number().positive().nullable(),
  /** Of its process and all that it starts, together. Null: none. */
  memory_bytes: z
    .int()
    .min(64 * 1024 ** 2)
    .nullable(),
  /** 0 to 19, added to the worker's own; larger gives way to others. */
  nice: z.int().min(0).max(19),
  /** `idle`, or 0 (first) to 7 (last) of the best-effort class. Null: as the worker. */
  ionice: z.union([z.literal('idle'), z.int().min(0).max(7)]).nullable(),
  /**
   * Attempts that one process may run, one after the other, as long as its code is the one on disk and it has left nothing
   * behind: no process, no thread, no open file or timer. 1: a fresh process for each.
   */
  attempts_per_process: z.int().min(1),
});

/** What a task or a site names of it. */
export const someTaskLimits = taskLimits.partial();

/** How often and how soon a task is tried again after a retryable error. */
export const retryPolicy = z.strictObject({
  /** Tries beyond the first. */
  max: z.int().min(0),
  delay_seconds: z.number().min(0),
});

/** What a task or a site names of it. */
export const someRetryPolicy = retryPolicy.partial();

export type RetryPolicy = Readonly<z.infer<typeof retryPolicy>>;
export type SomeRetryPolicy = Readonly<z.infer<typeof someRetryPolicy>>;
export type TaskLimits = z.infer<typeof taskLimits>;
export type SomeTaskLimits = Readonly<z.infer<typeof someTaskLimits>>;
