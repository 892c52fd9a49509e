/** What a worker says of itself when Redis was away in the middle of it. */
import { expect, onTestFinished, test } from 'vitest';
import { type HeartbeatParts, startHeartbeat } from '../../workers/fleet/control/heartbeat.ts';
import { createLogger } from '../../workers/log.ts';
import type { WorkerEntry } from '../../workers/queue/registry.ts';
import { until } from '../support/until.ts';

test('a sign of life that had to wait for Redis is followed at once by how the worker is now', async () => {
  const written: WorkerEntry[] = [];
  const back = Promise.withResolvers<void>();
  let busy = 0;
  let asked = 0;
  const slots = {
    queue: 'q',
    count: 2,
    limits: { min: 2, max: 2 },
    get busy() {
      return busy;
    },
    asked_at: 0,
    consumed_at: null,
  };
  const heartbeat = startHeartbeat({
    // The next one is far away.
    seconds: 3600,
    identity: { name: 'w' },
    state: () => 'working',
    suspended: () => null,
    restartDue: () => null,
    slots: [slots],
    running: new Map(),
    records: {},
    registry: {
      write: async (entry: WorkerEntry) => {
        asked += 1;
        await back.promise;
        written.push(entry);
      },
      remove: async () => undefined,
    },
    control: { prove: async () => undefined },
    refusals: { refusing: false, met: () => false },
    log: createLogger('test', {}, { level: 'silent' }),
  } as unknown as HeartbeatParts);
  onTestFinished(() => heartbeat.stop());
  await until(() => asked === 1, { what: 'the first sign of life' });
  // Given just before the primary was gone; its place in the queue has reached the replica, the sign of life waits.
  busy = 2;
  const begun = performance.now();
  await until(() => performance.now() - begun > 1_100, { what: 'Redis to have been away for a while' });
  back.resolve();
  await until(() => written.length === 2, { what: 'the second' });
  expect(written.map(({ queues }) => queues[0]?.busy)).toEqual([0, 2]);
});
