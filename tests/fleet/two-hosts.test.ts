import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { startEmbeddedRedis } from '../../workers/queue/embedded.ts';
import { type Fleet, makeFleet } from '../support/fleet.ts';
import { canMakeHosts, type Hosts, makeHosts } from '../support/hosts.ts';
import { until } from '../support/until.ts';

async function makeTwo(overrides: Record<string, unknown>): Promise<{ fleet: Fleet; hosts: Hosts }> {
  const folder = mkdtempSync(join(tmpdir(), 'longshore-two-hosts-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const redis = await startEmbeddedRedis(folder);
  onTestFinished(() => redis.stop());
  const fleet = await makeFleet({
    ...overrides,
    queue: { lock_seconds: 2, stalled_check_seconds: 0.5, silence_seconds: 12, url: redis.url },
  });
  return { fleet, hosts: await makeHosts(fleet, redis.url) };
}

describe.skipIf(!canMakeHosts)(
  'two hosts (network namespaces; needs root) that see one Redis by different addresses',
  () => {
    let two: Awaited<ReturnType<typeof makeTwo>>;
    beforeEach(async () => {
      two = await makeTwo({
        autoscale: { min: 1, max: 1 },
        task: { kill_grace_seconds: 60 },
      });
    });

    test('both work: neither starves while the other is busy', async () => {
      const { fleet, hosts } = two;
      await hosts.worker('node-a');
      await hosts.worker('node-b');
      const ids = [];
      for (let count = 0; count < 16; count += 1) ids.push(await fleet.start({ one: {}, two: {} }));
      const runs = [];
      for (const id of ids)
        runs.push(...(await fleet.reaches(id, 'SUCCESS')).steps.map((step) => step.last_task_run));
      const attempts = await Promise.all(runs.map((run) => fleet.store.records.attempts(run?._id ?? '')));
      const by = Map.groupBy(attempts.flat(), ({ host }) => host);
      expect([...by.keys()].toSorted()).toEqual(['node-a', 'node-b']);
      // Alone, one of them would have had all 32.
      for (const [host, own] of by) expect(own.length, host).toBeGreaterThan(4);
      expect(attempts.every((list) => list.length === 1)).toBe(true);
    });

    test('a task is cancelled from the other host in under two seconds, with all that it started', async () => {
      const { fleet, hosts } = two;
      const worker = await hosts.worker('node-a');
      const go = fleet.place.path('go');
      const id = await fleet.start({ one: { deaf_until_file: go, grandchild: true } });
      await until(() => fleet.events('grandchild')[0]);
      const [{ task_id = '' } = {}] = fleet.events('start');
      const answer = await hosts.longshore('node-b', ['cancel', task_id, '--json']);
      expect(answer.code).toBe(0);
      expect(JSON.parse(answer.stdout)).toMatchObject({ workflow_id: id, process: 'stopped' });
      // From the order, as it is recorded, to the line that its worker writes when the process group is gone.
      const [order] = await fleet.store.records.auditLog({ subject: `workflow:${id}` });
      expect(order).toMatchObject({ action: 'workflow.pause', details: { task_id } });
      const stopped = worker
        .log()
        .split('\n')
        .find((line) => line.includes('step stopped by a person'));
      const { time } = JSON.parse(stopped ?? '{}') as { time: string };
      const took_ms = Date.parse(time) - Date.parse(order?.at ?? '');
      expect(took_ms).toBeGreaterThanOrEqual(0);
      expect(took_ms).toBeLessThan(2_000);
      expect((await fleet.engine.show(id)).status).toBe('REVOKED');
    });

    test('a host that is cut off for longer than its lease publishes nothing afterwards; the other has, once', async () => {
      const { fleet, hosts } = two;
      const cutOff = await hosts.worker('node-b');
      const [go, file] = [fleet.place.path('go'), fleet.place.path('published')];
      const id = await fleet.start({ one: { deaf_until_file: go, publish: file } });
      await until(() => fleet.events('start').length === 1);
      hosts.cut('node-b');
      await hosts.worker('node-a');
      await until(() => fleet.events('start').length === 2, { what: 'the step to run on the other host' });
      // Both tasks come to the point of publishing; only one of them may.
      writeFileSync(go, '');
      await fleet.reaches(id, 'SUCCESS');
      hosts.heal('node-b');
      await until(() => cutOff.log().includes('"held":"lost"') || cutOff.log().includes('E_LEASE_LOST'), {
        what: 'the host that was cut off to be told',
      });
      await fleet.reaches(await fleet.start({ other: {} }), 'SUCCESS');
      expect(existsSync(file) && readFileSync(file, 'utf8').trim().split('\n')).toHaveLength(1);
      expect(fleet.events('publish')).toHaveLength(1);
      const { steps } = await fleet.engine.show(id);
      const attempts = await fleet.store.records.attempts(steps[0]?.last_task_run?._id ?? '');
      expect(attempts.map(({ host, outcome }) => `${host} ${outcome}`)).toEqual([
        'node-b lost',
        'node-a success',
      ]);
      expect(steps[0]?.last_task_run).toMatchObject({ retries: 0 });
    });
  },
);
