import { expect, test } from 'vitest';
import { LongshoreError } from '../../workers/errors.ts';
import { WriteBatch } from '../../workers/sqlite/write-batch.ts';

/** Commits by calling; `refuse` is what the file says of a commit. */
function makeBatch(refuse: (works: number) => Error | null = () => null) {
  const commits: { works: number; durable: boolean }[] = [];
  const batch = new WriteBatch<string>(async (works, durable) => {
    commits.push({ works: works.length, durable });
    const refusal = refuse(works.length);
    if (refusal !== null) throw refusal;
    return works.map((work) => work('sql'));
  });
  return { batch, commits };
}

test('writes of one turn of the event loop are one transaction, and each gets its own answer', async () => {
  const { batch, commits } = makeBatch();
  const answers = [1, 2, 3].map((number) => batch.add((sql) => `${sql} ${number}`, false));
  expect(await Promise.all(answers)).toEqual(['sql 1', 'sql 2', 'sql 3']);
  expect(commits).toEqual([{ works: 3, durable: false }]);
});

test('one that must be on disk takes the others of its turn with it', async () => {
  const { batch, commits } = makeBatch();
  await Promise.all([batch.add(() => 1, false), batch.add(() => 2, true)]);
  expect(commits).toEqual([{ works: 2, durable: true }]);
});

test('one that throws fails alone: the others are done in transactions of their own', async () => {
  const { batch, commits } = makeBatch();
  const broken = batch.add(() => {
    throw new Error('broken');
  }, false);
  const results = await Promise.allSettled([
    batch.add(() => 'a', false),
    broken,
    batch.add(() => 'c', false),
  ]);
  expect(results).toMatchObject([
    { status: 'fulfilled', value: 'a' },
    { status: 'rejected', reason: { message: 'broken' } },
    { status: 'fulfilled', value: 'c' },
  ]);
  expect(commits.map(({ works }) => works)).toEqual([3, 1, 1, 1]);
});

test('a file that does not answer is asked once for all that wait, and each of them is told', async () => {
  const { batch, commits } = makeBatch(() => new LongshoreError('E_CATALOG_UNAVAILABLE', 'it is locked'));
  const results = await Promise.allSettled([1, 2, 3].map((number) => batch.add(() => number, false)));
  expect(results.map(({ status }) => status)).toEqual(['rejected', 'rejected', 'rejected']);
  expect(commits).toHaveLength(1);
});

test('what comes while others are written is written after them, also more than one transaction takes', async () => {
  const { batch, commits } = makeBatch();
  const order: number[] = [];
  const add = (number: number) => batch.add(() => order.push(number), false);
  const first = Array.from({ length: 40 }, (_, number) => add(number));
  const last = first[0]?.then(() => add(40));
  await Promise.all([...first, last]);
  await batch.settled();
  expect(order).toEqual(Array.from({ length: 41 }, (_, number) => number));
  expect(commits.length).toBeGreaterThan(1);
});
