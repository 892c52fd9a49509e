/** What a host remembers of an unfinished upload, and of which one. */
import { statSync, utimesSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import {
  beginLedger,
  type LedgerHead,
  ledgerPath,
  oldLedgers,
  readLedger,
} from '../../workers/archive/s3/ledger.ts';
import { makePlace } from '../support/place.ts';

const head: LedgerHead = {
  v: 1,
  endpoint: 'http://one',
  bucket: 'bundles',
  key: 'run.tar',
  upload_id: 'u-1',
  plan: { part_bytes: 5, grows: false },
  made_with: '{}',
  task_id: 'task-1',
};
const part = { number: 1, size: 5, md5: 'ab', etag: 'cd' };
const OTHERS: Partial<LedgerHead>[] = [{ endpoint: null }, { endpoint: 'http://two' }, { bucket: 'others' }];

test('each object of each server has a ledger of its own, which nobody else reads', async () => {
  const { folder } = await makePlace();
  const paths = [{}, { key: 'other.tar' }, ...OTHERS].map((other) =>
    ledgerPath(folder, { ...head, ...other }),
  );
  expect(new Set(paths).size).toBe(5);
  const path = ledgerPath(folder, head);
  beginLedger(path, head, [part]).close();
  expect(readLedger(path)).toEqual({ head, parts: new Map([[1, part]]) });
  expect(statSync(path).mode & 0o777).toBe(0o600);
});

test('one that another release wrote, or that names no upload, is of no use', async () => {
  const path = ledgerPath((await makePlace()).folder, head);
  beginLedger(path, head, []).close();
  for (const other of [{ v: 2 }, { upload_id: 7 }]) {
    writeFileSync(path, `${JSON.stringify({ ...head, ...other })}\n`);
    expect(readLedger(path)).toBeNull();
  }
});

test('what is old is that of this bucket of this server', async () => {
  const { folder } = await makePlace();
  for (const other of [{}, ...OTHERS]) {
    const path = ledgerPath(folder, { ...head, ...other });
    beginLedger(path, { ...head, ...other }, []).close();
    utimesSync(path, 1, 1);
  }
  beginLedger(ledgerPath(folder, { ...head, key: 'new.tar' }), { ...head, key: 'new.tar' }, []).close();
  const half = join(dirname(ledgerPath(folder, head)), '.run.ndjson.partial-1');
  writeFileSync(half, `${JSON.stringify(head)}\n`);
  utimesSync(half, 1, 1);
  expect(oldLedgers(folder, head, 60_000)).toEqual([{ path: ledgerPath(folder, head), head }]);
});
