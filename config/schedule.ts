import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import type * as cronParser from 'cron-parser';
import { z } from 'zod';

const SCRIPTS = join(import.meta.dirname, '../scripts');
const SCRIPT_NAME = /^[A-Za-z0-9_-]+$/;

/** A time of the day or a pace, on some day of the week: most are. The library that reads all others takes 80 ms to load. */
const PLAIN = /^(\*|\*\/[1-9]|\*\/[1-5]\d|[0-5]?\d) (\*|\*\/[1-9]|\*\/1\d|[01]?\d|2[0-3]) \* \* (\*|[0-7])$/;

/** By the library that BullMQ reads it with, or a worker would find out what the start did not. */
const cron = z.string().superRefine((pattern, context) => {
  const wrong = PLAIN.test(pattern) ? null : faultIn(pattern);
  if (wrong !== null) context.addIssue(`expected a cron expression, as "0 7 * * *": ${wrong}`);
});

function faultIn(pattern: string): string | null {
  const fields = pattern.trim().split(/\s+/).length;
  // It would take the missing ones for zeros.
  if (fields < 5 && !pattern.startsWith('@')) return 'it has fewer than five fields';
  const { CronExpressionParser } = createRequire(import.meta.url)('cron-parser') as typeof cronParser;
  try {
    CronExpressionParser.parse(pattern).next();
    return null;
  } catch (error) {
    return (error as Error).message;
  }
}

export const schedule = z.strictObject({
  /** File name in scripts/, without `.ts`. */
  script: z.string().regex(SCRIPT_NAME, 'expected the name of a file in scripts/, without .ts'),
  args: z.array(z.string()),
  /** Five-field cron expression, host-local time. */
  cron,
  /** A turn that no worker could begin in time: run it once as soon as there is one, or leave it out. */
  missed: z.enum(['run', 'skip']).default('run'),
  /** Left out where there are none: uploads come with catalog.backend `rest`. */
  only: z.literal('uploads').optional(),
});

/** Scripts that this checkout does not have, of a list that need not be well formed. */
export function missingScripts(schedules: unknown): string[] {
  const list: unknown[] = Array.isArray(schedules) ? schedules : [];
  return list.flatMap((one, at) => {
    const name = (one as { script?: unknown } | null)?.script;
    if (typeof name !== 'string' || !SCRIPT_NAME.test(name)) return []; // Told by the schema.
    if (existsSync(join(SCRIPTS, `${name}.ts`))) return [];
    return [`schedules.${at}.script: scripts/ has no ${name}.ts`];
  });
}
