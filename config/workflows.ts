/** The schemas of workflows, and of the workers that take their steps from queues. */
import { z } from 'zod';
import { count, text } from './scalars.ts';

/** `{app_id}` and `{host}` are filled in where it is used. */
const queueName = z.string().regex(/^[^\s:]+$/, 'expected text without ":" and white space');

const workflowStep = z.strictObject({
  name: text,
  task: text,
  queue: queueName.optional(),
  kwargs: z.record(z.string(), z.unknown()).optional(),
  /** 0..9, larger runs sooner; default: the step's 1-based position, so that started datasets finish first. */
  priority: z.int().min(0).max(9).optional(),
  /** Names of `resources` that the step holds while it runs; it waits for them without a slot. */
  needs: z.array(text).optional(),
});

export const workflowDefinition = z
  .strictObject({
    description: z.string().optional(),
    steps: z.array(workflowStep).min(1, 'expected at least one step'),
    /** Workflows that are started for the same dataset when this one has succeeded. */
    then: z.array(text).optional(),
  })
  .superRefine((definition, context) => {
    const names = definition.steps.map((step) => step.name);
    for (const name of new Set(names.filter((name, index) => names.indexOf(name) !== index))) {
      context.addIssue({
        code: 'custom',
        path: ['steps'],
        message: `step name "${name}" is used twice; names must be unique`,
      });
    }
  });

/** What a worker takes from one queue: a name, or a name with its slots (default: autoscale.min and .max). */
const servedQueue = z.union([
  queueName,
  z
    .strictObject({ name: queueName, min: z.int().min(1).optional(), max: z.int().min(1).optional() })
    .refine(
      ({ min, max }) => min === undefined || max === undefined || min <= max,
      'expected min to be at most max',
    ),
]);

export const workerApp = z.strictObject({
  queues: z.array(servedQueue).min(1, 'expected at least one queue'),
  /** Processes that pm2 keeps up on a host; default 1. None: the app is not started with the others. */
  instances: count.optional(),
});
