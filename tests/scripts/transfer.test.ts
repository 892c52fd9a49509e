import { Redis } from 'ioredis';
import { expect, inject, onTestFinished, test } from 'vitest';
import { withTransfer } from '../../scripts/fixity/transfer.ts';
import type { Archive } from '../../workers/archive/contract.ts';
import { createLogger } from '../../workers/log.ts';
import { createPermits } from '../../workers/queue/permits.ts';
import { openStore } from '../../workers/store.ts';
import { makePlace } from '../support/place.ts';
import { until } from '../support/until.ts';

const tape = (max_transfers: number | null): Pick<Archive, 'name' | 'capabilities'> => ({
  name: 'tape',
  capabilities: { stream: true, range: false, resume: false, digest: null, max_transfers },
});

async function open() {
  const { config } = await makePlace();
  const store = await openStore(config);
  onTestFinished(() => store.close());
  const redis = new Redis(inject('redis'));
  onTestFinished(() => redis.disconnect());
  const session = { config, store, log: createLogger('test', {}, { level: 'silent' }) };
  /** As a task of the fleet holds it. */
  const task = createPermits(redis, {
    prefix: config.queue.prefix,
    holder: 'task-1',
    hold_ms: 60_000,
    onError: (error) => {
      throw error;
    },
    onLost: (resource) => {
      throw new Error(`lost ${resource}`);
    },
  });
  onTestFinished(async () => void (await task.end()));
  const held = (): Promise<number> => redis.zcard(`${config.queue.prefix}:permits:archive:tape`);
  return { session, task, held };
}

test('a proof holds one of the transfers of its archive while it reads, and gives it back', async () => {
  const { session, task, held } = await open();
  expect(await task.take('archive:tape', 2)).toBe(true);
  const answer = await withTransfer(session, tape(2), undefined, async () => {
    expect(await held()).toBe(2);
    return 'proven';
  });
  expect(answer).toBe('proven');
  expect(await held()).toBe(1);
  const failing = withTransfer(session, tape(2), undefined, () => Promise.reject(new Error('torn tape')));
  await expect(failing).rejects.toThrow('torn tape');
  expect(await held()).toBe(1);
});

test('where all are taken it waits for one; told to stop, it waits no longer', async () => {
  const { session, task, held } = await open();
  expect(await task.take('archive:tape', 1)).toBe(true);
  let read = false;
  const waiting = withTransfer(session, tape(1), undefined, async () => {
    read = true;
  });
  const stopping = new AbortController();
  const stopped = withTransfer(session, tape(1), stopping.signal, async () => 'never');
  stopping.abort();
  await expect(stopped).rejects.toThrow(/abort/i);
  expect(read).toBe(false);
  await task.end();
  await waiting;
  expect(read).toBe(true);
  await until(async () => (await held()) === 0, { what: 'all transfers to be given back' });
});

test('an archive without such a limit needs no Redis', async () => {
  const { session } = await open();
  const away = { ...session.config, queue: { ...session.config.queue, url: 'redis://127.0.0.1:1' } };
  const answer = await withTransfer({ ...session, config: away }, tape(null), undefined, async () => 1);
  expect(answer).toBe(1);
});
