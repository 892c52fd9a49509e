import { spawnSync } from 'node:child_process';
import { hostname } from 'node:os';
import { expect, test } from 'vitest';
import type { Spool } from '../../workers/catalog/rest/spool.ts';
import { killedUnnoticed } from '../support/unnoticed.ts';

export interface Holder {
  readonly host: string;
  readonly pid: number;
  readonly until: number;
}

export interface SpoolPlace {
  /** One more process that shares it. */
  open(): Promise<Spool>;
  /** Somebody has taken the lane. */
  hold(lane: string, holder: Holder): Promise<void>;
}

export const deadPid = (): number => spawnSync(process.execPath, ['--version']).pid;

/** Of those who ask for the lane at the same moment, how many get it. */
export async function takersOf(lane: string, spools: readonly Spool[]): Promise<number> {
  const answers = await Promise.all(spools.map((spool) => spool.take(lane)));
  return answers.filter(Boolean).length;
}

/** What every spool keeps to, whoever shares it. */
export function spoolBattery(makeSpool: () => Promise<SpoolPlace>): void {
  test('entries of a lane come in the order in which they were added, until they are done or refused', async () => {
    const place = await makeSpool();
    const [spool, other] = [await place.open(), await place.open()];
    const add = (lane: string, n: number) => other.add({ lane, kind: 'state', body: { n, 'a.$b': [null] } });
    const [one, two, three] = [await add('a', 1), await add('b', 2), await add('a', 3)];
    const four = await spool.add({ lane: 'a', kind: 'link', body: { n: 4 } });
    expect([await spool.waiting(), await spool.waiting('a'), await spool.waiting('c')]).toEqual([4, 3, 0]);
    const first = {
      id: one,
      lane: 'a',
      kind: 'state',
      body: { n: 1, 'a.$b': [null] },
      attempts: 0,
      due_at: 0,
    };
    expect(await spool.first('a')).toMatchObject(first);
    expect(await spool.oldest()).toBe((await spool.first('a'))?.created_at);
    for (let turn = 0; turn < 2; turn++) await spool.begun(one);
    expect(await other.first('a')).toMatchObject({ ...first, attempts: 2 });
    await spool.refused(one, 'E_API_REQUEST: no');
    expect(await other.first('a')).toMatchObject({ id: three });
    expect(await other.allRefused()).toMatchObject([
      {
        ...first,
        attempts: 2,
        error: 'E_API_REQUEST: no',
        refused_at: expect.stringMatching(/Z$/) as string,
      },
    ]);
    expect((await spool.bodiesOf('state')).map(({ n }) => n)).toEqual([1, 2, 3]);
    await spool.done(three);
    expect(await other.first('a')).toMatchObject({ id: four });
    expect(await other.busy(['a', 'b', 'c'])).toEqual(new Set(['a', 'b']));
    await spool.done(two);
    await spool.later(four, 7);
    expect(await other.first('a')).toMatchObject({ id: four, due_at: 7 });
    expect([await other.waiting(), await other.busy(['a', 'b'])]).toEqual([1, new Set(['a'])]);
    await spool.done(four);
    expect([await other.first('a'), await other.oldest(), await other.waiting()]).toEqual([null, null, 0]);
  });

  test('a lane is due when its first entry is that waits', async () => {
    const spool = await (await makeSpool()).open();
    const at = Date.now();
    const add = (lane: string, due_at: number) => spool.add({ lane, kind: 'state', body: {}, due_at });
    await add('put off', at + 60_000);
    await add('put off', 0);
    await spool.refused(await add('its first was refused', at + 60_000), 'no');
    await spool.refused(await add('refused', 0), 'no');
    await add('due', at);
    await add('due', at + 60_000);
    await add('its first was refused', 0);
    // The clock was ahead.
    await add('years ahead', at + 400 * 86_400_000);
    expect(await spool.dueLanes(at)).toEqual(['due', 'its first was refused', 'years ahead']);
  });

  test('a lane is one process’s at a time, and only that one gives it back', async () => {
    const place = await makeSpool();
    const spools = [await place.open(), await place.open(), await place.open()] as const;
    for (let turn = 0; turn < 10; turn++) expect(await takersOf(`lane ${turn}`, spools)).toBe(1);
    const [mine, other] = spools;
    expect([await mine.take('a'), await other.take('a'), await mine.take('a')]).toEqual([true, false, true]);
    await other.release('a');
    expect(await other.take('a')).toBe(false);
    await mine.release('a');
    expect([await other.take('a'), await mine.take('a')]).toEqual([true, false]);
  });

  test('it is free again, for one, when its holder has died or has not renewed it', async () => {
    const place = await makeSpool();
    const spools = [await place.open(), await place.open(), await place.open()] as const;
    const alive = { host: hostname(), pid: process.pid, until: Date.now() + 60_000 };
    const dead = { ...alive, pid: deadPid() };
    await place.hold('killed', { ...alive, pid: await killedUnnoticed('') });
    expect(await takersOf('killed', spools)).toBe(1);
    for (let turn = 0; turn < 5; turn++) {
      const lane = (name: string) => `${name} ${turn}`;
      await place.hold(lane('alive'), alive);
      await place.hold(lane('dead'), dead);
      await place.hold(lane('run out'), { ...alive, until: Date.now() - 1 });
      // Its clock was ahead: taken at its word it would have the lane for years.
      await place.hold(lane('years'), { ...alive, until: Date.now() + 400 * 86_400_000 });
      expect(await takersOf(lane('alive'), spools)).toBe(0);
      for (const name of ['dead', 'run out', 'years']) expect(await takersOf(lane(name), spools)).toBe(1);
    }
  });

  test('what is known of the API and of its processes is shared', async () => {
    const place = await makeSpool();
    const [spool, other] = [await place.open(), await place.open()];
    expect(await other.health()).toEqual({ failures: 0, down_until: 0 });
    for (const failures of [1, 2]) {
      await spool.setHealth({ failures, down_until: 7 });
      expect(await other.health()).toEqual({ failures, down_until: 7 });
    }
    for (const api_id of [70, 71]) {
      await spool.keepProcess(7, api_id);
      expect([await other.processOf(7), await other.processOf(8)]).toEqual([api_id, null]);
    }
  });
}
