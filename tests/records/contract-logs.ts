import { expect, test } from 'vitest';
import type { LogLine } from '../../workers/records/contract.ts';
import { type Bench, type OpenStore, openBench } from './fixture.ts';

const registered = ({ records }: Bench, given: { workflow_id?: string; task_id: string }): Promise<number> =>
  records.registerProcess({
    workflow_id: given.workflow_id ?? null,
    step: 'qc',
    task_id: given.task_id,
    pid: 4,
    hostname: 'node-1.example.org',
    start_time: '2026-01-01T00:00:00.000Z',
    tags: { args: ['fastqc', '-t', '8', 'a b.fastq.gz'] },
  });

/** Process logs, audit, and what scripts remember. */
export function logBattery(open: OpenStore): void {
  test('100,000 lines of two streams and two processes come back complete, in order, with their level', async () => {
    const bench = await openBench(open);
    const { records } = bench;
    const processes = [
      await registered(bench, { workflow_id: 'wf', task_id: 't1' }),
      await registered(bench, { workflow_id: 'wf', task_id: 't2' }),
    ];
    const expected: string[] = [];
    for (let batch = 0; batch < 20; batch++) {
      const lines: LogLine[] = Array.from({ length: 5_000 }, (_, n) => ({
        timestamp: '2026-01-01T00:00:00.000Z',
        level: n % 3 === 0 ? 'stderr' : 'stdout',
        message: `line ${batch}.${n}\n`,
      }));
      await records.appendLogs(processes[batch % 2] as number, lines);
      expected.push(...lines.map((line) => `${line.level} ${line.message}`));
    }
    const seen: string[] = [];
    for (let after = 0; ; ) {
      const page = await records.logs({ workflow_id: 'wf', after, limit: 7_000 });
      seen.push(...page.map((line) => `${line.level} ${line.message}`));
      const last = page.at(-1);
      if (last === undefined) break;
      expect(last.step).toBe('qc');
      expect(last.id).toBeGreaterThan(after);
      after = last.id;
    }
    expect(seen).toEqual(expected);
    const first = await records.logs({ task_id: 't1', limit: 1_000_000 });
    expect(first).toHaveLength(50_000);
    expect(new Set(first.map((line) => line.process_id))).toEqual(new Set([processes[0]]));
    expect(await records.logs({ process_id: processes[1] })).toHaveLength(1_000);
    expect(await records.logs({ workflow_id: 'other' })).toEqual([]);
  });

  test('long lines are kept whole, though all of them are more than the records take at once', async () => {
    const bench = await openBench(open);
    const process = await registered(bench, { workflow_id: 'wf', task_id: 't' });
    const message = '€'.repeat(2 * 1024 ** 2);
    const lines = [1, 2, 3].map((n): LogLine => ({ timestamp: `${n}`, level: 'stdout', message }));
    await bench.records.appendLogs(process, lines);
    const seen = await bench.records.logs({ process_id: process });
    expect(seen.map((line) => line.timestamp)).toEqual(['1', '2', '3']);
    expect(seen.every((line) => line.message === message)).toBe(true);
  });

  test('lines of old processes are forgotten, a bounded number at a time, and those of others stay', async () => {
    const bench = await openBench(open);
    const { records } = bench;
    const start = (start_time: string, task_id: string): Promise<number> =>
      records.registerProcess({
        workflow_id: 'wf',
        step: 'qc',
        task_id,
        pid: 4,
        hostname: 'node-1',
        start_time,
        tags: { args: [] },
      });
    const lines = Array.from(
      { length: 30 },
      (_, n): LogLine => ({
        timestamp: '2026-01-01T00:00:00.000Z',
        level: 'stdout',
        message: `line ${n}`,
      }),
    );
    const silent = await start('2024-01-01T00:00:00.000Z', 'silent');
    const old = await start('2024-01-02T00:00:00.000Z', 'old');
    const young = await start('2026-01-02T00:00:00.000Z', 'young');
    for (const id of [old, young]) {
      for (const line of lines) await records.appendLogs(id, [line]);
    }
    const before = '2025-01-01T00:00:00.000Z';
    const first = await records.forgetLogs(before, 10);
    expect(first).toBeGreaterThanOrEqual(10);
    expect(first).toBeLessThan(30);
    await expect(records.appendLogs(silent, lines)).rejects.toMatchObject({ code: 'E_WORKFLOW_NOT_FOUND' });
    expect(await records.logs({ process_id: old })).toHaveLength(30 - first);
    expect(await records.forgetLogs(before, 100)).toBe(30 - first);
    expect(await records.forgetLogs(before, 100)).toBe(0);
    await expect(records.appendLogs(old, lines)).rejects.toMatchObject({ code: 'E_WORKFLOW_NOT_FOUND' });
    expect(await records.logs({ workflow_id: 'wf' })).toHaveLength(30);
  });

  test('audit entries keep actor and details, newest first, by subject', async () => {
    const { records } = await openBench(open);
    for (const n of [1, 2, 3])
      await records.audit({
        actor: `u${n}`,
        action: 'dataset.delete',
        subject: `dataset:${n % 2}`,
        details: { n, lists: [[n], []], 'a.b': { $c: null } },
      });
    expect((await records.auditLog({})).map((entry) => entry.actor)).toEqual(['u3', 'u2', 'u1']);
    expect(
      (await records.auditLog({ subject: 'dataset:1', limit: 1 })).map((entry) => entry.details),
    ).toEqual([{ n: 3, lists: [[3], []], 'a.b': { $c: null } }]);
    expect((await records.auditLog({}))[0]?.at).toMatch(/^\d{4}-\d\d-\d\dT[\d:.]{12}Z$/);
  });

  test('the watch’s memory holds 100,000 names per source and survives reopening', async () => {
    const { records, again } = await openBench(open);
    const names = Array.from({ length: 100_000 }, (_, n) => `folder ${n}`);
    await records.watch.apply('/source/a', { add: names });
    await records.watch.apply('/source/b', { add: ['other', 'folder 1'] });
    await records.watch.apply('/source/a', { add: ['folder 5', 'new'], remove: ['folder 0', 'never there'] });
    await records.watch.setCounter('/source/a', 89);
    const { watch } = (await again()).records;
    const start = performance.now();
    const known = await watch.known('/source/a');
    expect(performance.now() - start).toBeLessThan(2_000);
    expect(known.size).toBe(100_000);
    expect([known.has('new'), known.has('folder 0'), known.has('folder 5')]).toEqual([true, false, true]);
    expect(await watch.known('/source/b')).toEqual(new Set(['other', 'folder 1']));
    expect(await watch.counter('/source/a')).toBe(89);
    expect(await watch.counter('/source/b')).toBe(0);
  });

  test('notes keep JSON, are replaced, and go with null', async () => {
    const { records } = await openBench(open);
    expect(await records.note('purge.last')).toBeNull();
    await records.setNote('purge.last', { at: 1 });
    await records.setNote('purge.last', { at: 2, list: [null] });
    expect(await records.note('purge.last')).toEqual({ at: 2, list: [null] });
    await records.setNote('purge.last', null);
    expect(await records.note('purge.last')).toBeNull();
  });
}
