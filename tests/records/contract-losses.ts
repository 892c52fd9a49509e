import { expect, onTestFinished, test, vi } from 'vitest';
import { begin, claimOf, look, makeWorkflow, type OpenStore, openBench, policy } from './fixture.ts';

/** Processes and workers that die, and who is to blame. */
export function lossBattery(open: OpenStore): void {
  test('a second claim of a running step takes it over: one loss, and the old attempt can write nothing', async () => {
    const { records } = await openBench(open);
    const workflow = makeWorkflow();
    await records.createWorkflow(workflow);
    const old = await begin(records, workflow, 0, 'w1');
    await records.running(old.key, { pid: 11, pgid: 11, hostname: 'node-1' });
    const fresh = await begin(records, workflow, 0, 'w2');
    expect(fresh.orphan).toMatchObject({ worker: 'w1', pgid: 11, outcome: 'lost' });
    expect(fresh.run).toMatchObject({ losses: 1, retries: 0, worker: 'w2', result: null });
    expect(await records.isCurrent(old.key)).toBe(false);
    expect(await records.isCurrent(fresh.key)).toBe(true);
    expect(await records.running(old.key, { pid: 1, pgid: 1, hostname: 'x' })).toBe(false);
    expect(await records.progress(old.key, { name: 'late' })).toBe(false);
    expect(await records.finish(old.key, { outcome: 'success', result: [99] })).toBeNull();
    expect(await records.finish(old.key, { outcome: 'lost', reason: 'late' })).toBeNull();
    expect((await look(records, workflow.id)).runs[0]).toMatchObject({ status: 'STARTED', result: null });
    expect(await records.finish(fresh.key, { outcome: 'success', result: [7] })).not.toBeNull();
    expect(await records.finish(fresh.key, { outcome: 'success', result: [8] })).toBeNull();
    expect((await look(records, workflow.id)).runs[0]?.result).toEqual([7]);
  });

  test('a loss the worker has reported is not counted again by the next claim', async () => {
    const { records } = await openBench(open);
    const workflow = makeWorkflow();
    await records.createWorkflow(workflow);
    const { key } = await begin(records, workflow);
    expect(await records.finish(key, { outcome: 'lost', reason: 'SIGKILL' })).not.toBeNull();
    expect(await records.isCurrent(key)).toBe(false);
    const next = await begin(records, workflow);
    expect(next.orphan).toBeNull();
    expect(next.run.losses).toBe(1);
    expect(next.key.number).toBe(2);
  });

  test.each(['seen', 'unseen'])(
    'a job that loses its process more than max_losses times is poisoned (%s)',
    async (how) => {
      const { records } = await openBench(open);
      const workflow = makeWorkflow();
      await records.createWorkflow(workflow);
      for (let turn = 0; turn < 4; turn++) {
        const { key } = await begin(records, workflow, 0, `w${turn}`);
        if (how === 'seen') await records.finish(key, { outcome: 'lost', reason: 'SIGKILL' });
      }
      const verdict = await records.claim(claimOf(workflow), policy);
      expect(verdict).toMatchObject({ verdict: 'poisoned', losses: 4 });
      if (how === 'unseen') expect(verdict).toMatchObject({ orphan: { worker: 'w3' } });
      const seen = await look(records, workflow.id);
      expect(seen.status).toBe('FAILURE');
      expect(seen.runs[0]).toMatchObject({
        status: 'FAILURE',
        losses: 4,
        retries: 0,
        result: { exc_type: 'E_WORKER_LOST' },
      });
      expect(await records.claim(claimOf(workflow), policy)).toEqual({
        verdict: 'stopped',
        status: 'FAILURE',
      });
    },
  );

  test('a loss counts by the blame that is reported with it', async () => {
    const { records } = await openBench(open);
    const workflow = makeWorkflow();
    await records.createWorkflow(workflow);
    for (let turn = 0; turn < 6; turn++) {
      const { key } = await begin(records, workflow, 0, `w${turn}`);
      await records.finish(key, { outcome: 'lost', reason: 'SIGKILL', blame: 0.5 });
    }
    const { key } = await begin(records, workflow, 0, 'w6'); // 3 of the 3 that are allowed.
    await records.finish(key, { outcome: 'lost', reason: 'SIGKILL', blame: 0.5 });
    expect(await records.claim(claimOf(workflow), policy)).toMatchObject({ verdict: 'poisoned', losses: 7 });
  });

  test('a job is less to blame for its losses while others lose their processes, too', async () => {
    const { records } = await openBench(open);
    const workflows = [makeWorkflow(), makeWorkflow(), makeWorkflow()];
    for (const workflow of workflows) await records.createWorkflow(workflow);
    // Each of the three dies by itself, six times: the first has 1, then 5 times 1/3.
    for (let turn = 0; turn < 6; turn++) {
      for (const workflow of workflows) {
        const { key } = await begin(records, workflow, 0, `w-${turn}`);
        await records.finish(key, { outcome: 'lost', reason: 'SIGKILL' });
      }
    }
    const [first, , third] = workflows;
    if (first === undefined || third === undefined) throw new Error('no workflows');
    expect((await begin(records, third)).run.losses).toBe(6); // 2.0 of the 3 that are allowed.
    expect((await begin(records, first)).run.losses).toBe(6); // 2.7
  });

  test('a worker that dies with several jobs is held against each of them by its share only', async () => {
    const { records } = await openBench(open);
    const workflows = [makeWorkflow(), makeWorkflow(), makeWorkflow(), makeWorkflow()];
    for (const workflow of workflows) await records.createWorkflow(workflow);
    for (let death = 0; death < 10; death++) {
      for (const workflow of workflows) await begin(records, workflow, 0, `shared-${death}`);
    }
    const [first, second] = workflows;
    if (first === undefined || second === undefined) throw new Error('no workflows');
    const { run } = await begin(records, first, 0, 'alone-0');
    expect(run).toMatchObject({ losses: 10, status: 'STARTED' }); // 2.5 of the 3 that are allowed.
    // The losses of the others are not long ago: it shares its own with them.
    for (const name of ['alone-1', 'alone-2']) await begin(records, first, 0, name);
    expect(await records.claim(claimOf(first, 0, 'alone-3'), policy)).toMatchObject({
      verdict: 'poisoned',
      losses: 13,
    });
    expect(await records.claim(claimOf(second, 0, 'w'), policy)).toMatchObject({ verdict: 'run' });
  });

  test('jobs of a worker that died share its loss, however much later the last of them is given on', async () => {
    const { records } = await openBench(open);
    const [first, last] = [makeWorkflow(), makeWorkflow()];
    for (const workflow of [first, last]) await records.createWorkflow(workflow);
    vi.useFakeTimers({ toFake: ['Date'] });
    onTestFinished(() => void vi.useRealTimers());
    for (let death = 0; death < 6; death++) {
      await begin(records, first, 0, `w${death}`);
      vi.setSystemTime(Date.now() + 11 * 60_000);
      // 2.5 of the 3 that are allowed.
      expect((await begin(records, last, 0, `w${death}`)).run.losses).toBe(death);
    }
  });

  test('who lost its process a moment ago shares, also when it has gone on since', async () => {
    const { records } = await openBench(open);
    const [own, other] = [makeWorkflow(), makeWorkflow()];
    for (const workflow of [own, other]) await records.createWorkflow(workflow);
    for (const outcome of ['lost', 'lost', 'lost', 'postponed', 'postponed'] as const) {
      const { key } = await begin(records, other);
      await records.finish(key, { outcome, reason: 'r', next_attempt_at: new Date().toISOString() });
    }
    for (let turn = 0; turn < 5; turn++) {
      const { key } = await begin(records, own);
      await records.finish(key, { outcome: 'lost', reason: 'SIGKILL' });
    }
    expect((await begin(records, own)).run.losses).toBe(5); // 2.5 of the 3 that are allowed.
  });

  test('a job that brings down worker after worker is set aside soon, and none of its many victims', async () => {
    const { records } = await openBench(open);
    const culprit = makeWorkflow();
    await records.createWorkflow(culprit);
    const victims = [];
    let verdict = 'run';
    let deaths = 0;
    for (; verdict === 'run' && deaths < 20; deaths++) {
      for (let at = 0; at < 3; at++) {
        const victim = makeWorkflow();
        victims.push(victim);
        await records.createWorkflow(victim);
        await begin(records, victim, 0, `w${deaths}`);
      }
      ({ verdict } = await records.claim(claimOf(culprit, 0, `w${deaths}`), policy));
      // What died with it runs elsewhere, and dies once more with the next one.
      for (const victim of victims.slice(-6)) await begin(records, victim, 0, `w${deaths + 1}`);
    }
    expect(verdict).toBe('poisoned');
    expect(deaths).toBeLessThanOrEqual(12);
    for (const victim of victims)
      expect(await records.claim(claimOf(victim), policy)).toMatchObject({ verdict: 'run' });
  });

  test('what was set aside for its losses shares those of others no more', async () => {
    const { records } = await openBench(open);
    const [first, second] = [makeWorkflow(), makeWorkflow()];
    for (const workflow of [first, second]) {
      await records.createWorkflow(workflow);
      for (let turn = 0; turn < 4; turn++) {
        const { key } = await begin(records, workflow, 0, `w${turn}`);
        await records.finish(key, { outcome: 'lost', reason: 'SIGSEGV' });
      }
      expect(await records.claim(claimOf(workflow), policy)).toMatchObject({
        verdict: 'poisoned',
        losses: 4,
      });
    }
  });

  test('a job that loses its process without an end is set aside, however little it is to blame', async () => {
    const { records } = await openBench(open);
    const workflow = makeWorkflow();
    await records.createWorkflow(workflow);
    for (let turn = 0; turn < 40; turn++) {
      const { key } = await begin(records, workflow, 0, `w${turn}`);
      await records.finish(key, { outcome: 'lost', reason: 'SIGKILL', blame: 0.01 });
    }
    expect(await records.claim(claimOf(workflow), policy)).toMatchObject({ verdict: 'poisoned', losses: 40 });
  });
}
