import { expect, test } from 'vitest';
import { chaosOfLandings } from '../../bench/chaos/landings.ts';
import { chaosOfNoops } from '../../bench/chaos/noops.ts';
import { makePlace } from '../support/place.ts';
import { stubTools } from '../tasks/stubs.ts';

/** `npm run chaos` is the long form. Told with each run, so that one that failed can be tried again. */
const seed = Number(process.env.CHAOS_SEED) || Date.now() % 1_000_000;

const told = (lines: string[]) => (line: string) => void lines.push(line);

test('20 landings and their QC arrive once, byte-identical and without litter, while workers, children, watcher and Redis are killed at random', {
  timeout: 400_000,
}, async () => {
  const place = await makePlace();
  const lines: string[] = [];
  const result = await chaosOfLandings({
    folder: place.folder,
    env: { ...place.env, STUB_LOG: place.path('stub.log') },
    overrides: { tools: stubTools },
    qc: true,
    landings: 20,
    workers: 2,
    seed,
    every_seconds: 2,
    minutes: 1,
    tell: told(lines),
  });
  expect(result.problems, `seed ${seed}\n${lines.join('\n')}`).toEqual([]);
  const { hits } = result;
  for (const victim of ['worker', 'child', 'watcher'] as const)
    expect(hits[victim], `a ${victim} was killed; ${JSON.stringify(hits)}, seed ${seed}`).toBeGreaterThan(0);
  expect(Object.values(hits).reduce((sum, one) => sum + one, 0)).toBeGreaterThan(5);
});

test('200 workflows end by themselves while Redis is killed every few seconds, with the locks of production', {
  timeout: 400_000,
}, async () => {
  const place = await makePlace({ queue: { lock_seconds: 30, stalled_check_seconds: 15 } });
  const lines: string[] = [];
  const result = await chaosOfNoops({
    folder: place.folder,
    env: place.env,
    workflows: 200,
    steps: 1,
    workers: 2,
    seed,
    restart_seconds: [3, 6],
    minutes: 5,
    tell: told(lines),
  });
  expect(result.problems, `seed ${seed}\n${lines.join('\n')}`).toEqual([]);
  // A quiet machine may be done before the second.
  expect(result.restarts).toBeGreaterThan(0);
});
