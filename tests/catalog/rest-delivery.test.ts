/** One entry of the spool after another, with an API that is only a function. */
import { expect, onTestFinished, test } from 'vitest';
import { createDelivery } from '../../workers/catalog/rest/delivery.ts';
import { openSpool, type Spool, type SpoolEntry } from '../../workers/catalog/rest/spool.ts';
import { type ErrorCode, LongshoreError } from '../../workers/errors.ts';
import { createLogger } from '../../workers/log.ts';
import { makePlace } from '../support/place.ts';

/** @param answers codes that tries fail with, one after the other; then all goes well */
async function makeDelivery(...answers: ErrorCode[]) {
  const place = await makePlace();
  const path = place.path('spool.db');
  const spool = await openSpool(path);
  const again = await openSpool(path);
  const tries: string[] = [];
  /** Of each entry that was added: whether another process could have delivered it. */
  const open: boolean[] = [];
  const waiting: number[] = [];
  const add: Spool['add'] = async (entry) => {
    open.push(await again.take(entry.lane));
    return spool.add(entry);
  };
  const delivery = createDelivery({
    spool: { ...spool, add },
    carryOut: async ({ kind }: SpoolEntry, doubtful) => {
      waiting.push(await spool.waiting());
      tries.push(doubtful ? `${kind} again` : kind);
      const code = answers.shift();
      if (code === 'E_API_ANSWER') throw new LongshoreError(code, 'no', { class: 'fatal' });
      if (code !== undefined) throw new LongshoreError(code, 'no');
      return `${kind} done`;
    },
    log: createLogger('test', {}, { level: 'fatal' }),
    scale: 1,
  });
  onTestFinished(async () => {
    await delivery.stop();
    await spool.close();
    await again.close();
  });
  const send = (kind: string, lane = 'a') => delivery.send({ lane, kind, body: {} });
  return { spool, again, delivery, tries, waiting, open, send };
}

test('an entry stays in the spool until the API has taken it, and its answer is told', async () => {
  const { spool, tries, waiting, send } = await makeDelivery();
  expect(await send('one')).toEqual({ answer: 'one done' });
  expect([tries, waiting, await spool.waiting()]).toEqual([['one'], [1], 0]);
});

test('a lane is taken before an entry is added to it, and given back when it is empty', async () => {
  const { again, open, send } = await makeDelivery();
  for (const kind of ['one', 'two']) expect(await send(kind)).toEqual({ answer: `${kind} done` });
  expect(open).toEqual([false, false]);
  expect(await again.take('a')).toBe(true);
});

test('many who send at once each hear the answer to their own entry, which is told once', async () => {
  const { tries, send } = await makeDelivery();
  const kinds = ['one', 'two', 'three', 'four', 'five'];
  const answers = await Promise.all(kinds.map((kind) => send(kind)));
  expect(answers).toEqual(kinds.map((kind) => ({ answer: `${kind} done` })));
  expect(tries).toEqual(kinds);
});

test('what the API could not take waits, with all behind it, and is not tried again before its time', async () => {
  const { spool, tries, send } = await makeDelivery('E_API_FAILED');
  expect(await send('one')).toBeNull();
  expect(await send('two')).toBeNull();
  expect(await send('other', 'b')).toEqual({ answer: 'other done' });
  expect(tries).toEqual(['one', 'other']);
  const first = await spool.first('a');
  expect(first).toMatchObject({ kind: 'one', attempts: 1 });
  expect(first?.due_at ?? 0).toBeGreaterThan(Date.now() + 1000);
  // Its time has come: what may have been carried out is told as such, and then what came after it.
  await spool.later(first?.id ?? 0, 0);
  expect(await send('three')).toEqual({ answer: 'three done' });
  expect(tries.slice(2)).toEqual(['one again', 'two', 'three']);
});

test('what the API refuses is thrown to who sent it; of others it is set aside, and the next one goes on', async () => {
  const { spool, again, tries, send } = await makeDelivery(
    'E_API_CONFLICT',
    'E_API_ANSWER',
    'E_API_NOT_FOUND',
  );
  for (const code of ['E_API_CONFLICT', 'E_API_ANSWER'])
    await expect(send('mine')).rejects.toMatchObject({ code });
  expect(await spool.waiting()).toBe(0);
  await again.add({ lane: 'a', kind: 'of another', body: {} });
  expect(await send('two')).toEqual({ answer: 'two done' });
  expect(tries).toEqual(['mine', 'mine', 'of another', 'two']);
  expect(await spool.allRefused()).toMatchObject([{ kind: 'of another', error: 'E_API_NOT_FOUND: no' }]);
  expect(await spool.waiting()).toBe(0);
});

test('of one outage that many hear of, the pause is that of one', async () => {
  const { spool, delivery } = await makeDelivery();
  const away = new LongshoreError('E_API_UNAVAILABLE', 'no');
  for (let times = 0; times < 5; times++) await delivery.noteHealth(away);
  const { failures, down_until } = await spool.health();
  expect(failures).toBe(1);
  expect(down_until).toBeLessThanOrEqual(Date.now() + 2000);
  await delivery.noteHealth(null);
  expect(await spool.health()).toEqual({ failures: 0, down_until: 0 });
});

test('a lane is of one who delivers at a time, and only he gives it back', async () => {
  const { spool, again } = await makeDelivery();
  expect(await spool.take('a')).toBe(true);
  expect(await again.take('a')).toBe(false);
  await again.release('a');
  expect(await again.take('a')).toBe(false);
  expect([await spool.take('a'), await again.take('b')]).toEqual([true, true]);
  await spool.release('a');
  expect(await again.take('a')).toBe(true);
});
