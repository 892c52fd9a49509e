/** Waits until nothing below the origin path has changed for a while. Waiting holds no slot. */
import { newestChange } from '../content/newest-change.ts';
import { liveDataset, reachState } from '../dataset/lifecycle.ts';
import { assertName } from '../dataset/paths.ts';
import { LongshoreError } from '../errors.ts';
import { defineTask, postpone } from './contract.ts';

export const task = defineTask({
  description:
    'Waits until nothing in the origin folder has changed for config.registration.recency_threshold_seconds.',
  run: async (ctx) => {
    const dataset = await liveDataset(ctx.catalog, ctx.dataset_id);
    assertName(dataset.name); // A name that no bundle can have is told now, not after hours of waiting.
    const { registration } = ctx.config;
    const threshold = secondsOf(ctx.kwargs, 'recency_threshold', registration.recency_threshold_seconds);
    const wait = secondsOf(ctx.kwargs, 'wait_seconds', registration.wait_between_stability_checks_seconds);

    const newest = await newestChange(dataset.origin_path, { signal: ctx.signal });
    const age = (Date.now() - newest) / 1000;
    const progress = {
      name: new Date(newest).toISOString().slice(0, -1),
      time_remaining_sec: threshold - age,
    };
    if (age <= threshold) {
      // Strictly older is asked for, so the earliest moment that can do is a little later than the threshold.
      const pause = Math.min(wait, threshold - age + 0.01);
      // A date, not an age: it is read later than it is written.
      const at = new Date(newest).toISOString().slice(0, 19);
      const reason = `last changed at ${at}Z; stable after ${threshold} s without a change`;
      return postpone(new Date(Date.now() + pause * 1000), reason, progress);
    }
    ctx.report(progress);
    await ctx.lease.assert();
    const [last] = await ctx.catalog.states(dataset.id);
    if (last?.state !== 'READY') await reachState(ctx.catalog, dataset.id, 'READY', ctx.run.workflow_id);
    return [dataset.id];
  },
});

/** Absent, null and 0 mean the configured value. */
function secondsOf(kwargs: Readonly<Record<string, unknown>>, name: string, configured: number): number {
  const given = kwargs[name] || configured;
  if (typeof given === 'number' && Number.isFinite(given) && given > 0) return given;
  if (given === configured) return configured; // 0 in the configuration: any age above 0 will do.
  throw new LongshoreError('E_USAGE', `${name} is ${JSON.stringify(given)}; expected a number of seconds`, {
    fields: { name, given },
    hint: `Correct ${name} in the step's kwargs or in the start of the workflow.`,
  });
}
