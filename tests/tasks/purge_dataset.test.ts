import {
  existsSync,
  lstatSync,
  mkdirSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { expect, test } from 'vitest';
import { stagedCopyOf } from '../../workers/content/staged-copy.ts';
import { partialPath } from '../../workers/content/publish.ts';
import { fetchedBundleOf } from '../../workers/dataset/paths.ts';
import { fingerprint, killedOnceRecorded, type Landing, makeLanding, unmount } from './landing.ts';

const files = { 'a.txt': 'alpha', 'sub/b.txt': 'beta' };
const isThere = (path: string): boolean => lstatSync(path, { throwIfNoEntry: false }) !== undefined;

async function landed(config: Record<string, unknown> = {}): Promise<Landing> {
  const landing = await makeLanding(files, { config });
  await landing.upTo('setup_dataset_download');
  return landing;
}

/** Everything that leads to the staged copy, and is there. */
async function parts(landing: Landing): Promise<string[]> {
  const { trees, bundle, links, aliasFolder } = stagedCopyOf(landing.place.config, await landing.dataset());
  return [...trees, bundle, links.tree, links.bundle, aliasFolder].filter(isThere);
}

const pin = (landing: Landing, until: string | null) =>
  landing.store.catalog.patch(landing.id, { metadata: { pinned: { until, by: 'ann', reason: 'paper' } } });

test('tree, bundle, both links and the alias folder go; archive and origin stay; the record says why', async () => {
  const landing = await landed();
  const before = await parts(landing);
  const { archive_path } = await landing.dataset();
  expect(before).toHaveLength(5);
  const [id, answer] = (await landing.run('purge_dataset', { kwargs: { reason: 'too old' } })) as unknown[];
  expect(id).toBe(landing.id);
  expect(answer).toEqual({ removed: expect.arrayContaining(before.slice(0, 4)), note: null });
  expect(before.filter(isThere)).toEqual([]);
  expect(existsSync(archive_path as string)).toBe(true);
  expect(existsSync(landing.origin)).toBe(true);
  const after = await landing.dataset();
  expect(after).toMatchObject({ is_staged: false, staged_path: null, archive_path });
  expect(after.states?.[0]).toMatchObject({ state: 'PURGED', metadata: { reason: 'too old' } });
  expect(landing.audit).toEqual([
    { action: 'dataset.purge', details: expect.objectContaining({ reason: 'too old', forced: false }) },
  ]);
  // The way back is open.
  await landing.run('stage_dataset', { workflow_id: 'workflow-2', task_id: 'task-0002' });
  await landing.run('validate_dataset', { workflow_id: 'workflow-2' });
  const { staged_path } = await landing.dataset();
  expect(fingerprint(staged_path as string)).toBe(fingerprint(landing.origin));
});

test('a stage folder that was moved, with a link at its old place, is purged as ever', async () => {
  const landing = await landed();
  const stage = landing.place.path('data/staged');
  renameSync(stage, `${stage}.moved`);
  symlinkSync(`${stage}.moved`, stage);
  const before = await parts(landing);
  expect(before).toContain((await landing.dataset()).staged_path?.replace(stage, `${stage}.moved`));
  await landing.run('purge_dataset');
  expect(before.filter(isThere)).toEqual([]);
  expect(await landing.dataset()).toMatchObject({ is_staged: false, staged_path: null });
});

test('a bundle that is gone, cut short or never proven keeps the staged copy; --force does not ask', async () => {
  const landing = await landed();
  const { archive_path, bundle } = await landing.dataset();
  const path = archive_path as string;
  const before = await parts(landing);
  const { size } = statSync(path);
  truncateSync(path, size - 1);
  expect(await landing.fails('purge_dataset')).toMatchObject({
    code: 'E_BUNDLE_CORRUPT',
    fields: { size: size - 1, expected: size },
  });
  unlinkSync(path);
  expect(await landing.fails('purge_dataset')).toMatchObject({ code: 'E_BUNDLE_MISSING' });
  writeFileSync(path, Buffer.alloc(size));
  const { catalog } = landing.store;
  const [copy] = await catalog.copies(landing.id);
  if (copy === undefined || !bundle) throw new Error('no copy is recorded');
  await catalog.putCopy(landing.id, { ...copy, digests: { blake3: 'of another one' } });
  expect(await landing.fails('purge_dataset')).toMatchObject({
    code: 'E_NOT_ARCHIVED',
    message: expect.stringContaining('never read back and proven'),
  });
  await catalog.removeCopy(landing.id, copy.archive);
  await catalog.patch(landing.id, { archive_path: null, bundle: null });
  expect(await landing.fails('purge_dataset')).toMatchObject({ code: 'E_NOT_ARCHIVED' });
  expect(await parts(landing)).toEqual(before);
  expect(landing.audit).toEqual([]);
  await landing.run('purge_dataset', { kwargs: { force: true } });
  expect(before.filter(isThere)).toEqual([]);
});

test('an archive that is not mounted is an outage: nothing goes, and it is tried again', async () => {
  const landing = await landed();
  const before = await parts(landing);
  rmSync(landing.place.path('data/archive'), { recursive: true });
  mkdirSync(landing.place.path('data/archive'));
  expect(await landing.fails('purge_dataset')).toMatchObject({
    code: 'E_ARCHIVE_UNAVAILABLE',
    class: 'retryable',
  });
  expect(await parts(landing)).toEqual(before);
});

test('of two archives one that holds the bundle is enough', async () => {
  const landing = await landed({
    archive: {
      types: { RAW_DATA: ['mirror', 'filesystem'] },
      backends: { mirror: { kind: 'filesystem', root: '{home}/mirror' } },
    },
  });
  const copies = await landing.store.catalog.copies(landing.id);
  expect(copies).toHaveLength(2);
  rmSync(landing.place.path('mirror'), { recursive: true });
  const before = await parts(landing);
  await landing.run('purge_dataset');
  expect(before.filter(isThere)).toEqual([]);
});

test('a pinned copy stays, also by force, until the pin is taken away or has run out', async () => {
  const landing = await landed();
  const before = await parts(landing);
  await pin(landing, null);
  const error = await landing.fails('purge_dataset', { kwargs: { force: true } });
  expect(error).toMatchObject({ code: 'E_WORKFLOW_STATE', hint: expect.stringContaining('longshore unpin') });
  expect(error.message).toContain('by ann: paper');
  await pin(landing, new Date(Date.now() + 60_000).toISOString());
  expect(await landing.fails('purge_dataset')).toMatchObject({ code: 'E_WORKFLOW_STATE' });
  // Whatever stands there and cannot be read was meant by somebody.
  await landing.store.catalog.patch(landing.id, { metadata: { pinned: true } });
  expect(await landing.fails('purge_dataset')).toMatchObject({ code: 'E_WORKFLOW_STATE' });
  expect(await parts(landing)).toEqual(before);
  await pin(landing, new Date(Date.now() - 1000).toISOString());
  await landing.run('purge_dataset');
  expect(before.filter(isThere)).toEqual([]);
});

test('a copy that was staged anew since it was chosen stays; none at all is nothing to do', async () => {
  const landing = await landed();
  const { states } = await landing.dataset();
  const staged_at = states?.find(({ state }) => state === 'STAGED')?.timestamp;
  for (const before of ['2020-01-01T00:00:00.000Z', null]) {
    const kept = await landing.run('purge_dataset', { kwargs: { staged_at: before } });
    expect(kept).toEqual([landing.id, { removed: [], note: expect.stringContaining('staged anew') }]);
  }
  expect(await parts(landing)).toHaveLength(5);
  await landing.run('purge_dataset', { kwargs: { staged_at } });
  const again = await landing.run('purge_dataset', { workflow_id: 'workflow-2' });
  expect(again).toEqual([landing.id, { removed: [], note: 'there is no staged copy' }]);
  expect((await landing.states()).filter((state) => state === 'PURGED')).toHaveLength(1);
});

test.each(['addState', 'patch'] as const)(
  'killed before %s, the next attempt completes it and says PURGED once',
  async (where) => {
    const landing = await landed();
    const before = await parts(landing);
    const { catalog } = landing.store;
    const { addState, patch } = {
      addState: catalog.addState.bind(catalog),
      patch: catalog.patch.bind(catalog),
    };
    catalog[where] = async () => {
      throw new Error('killed');
    };
    await expect(landing.run('purge_dataset')).rejects.toThrow('killed');
    Object.assign(catalog, { addState, patch });
    await landing.run('purge_dataset', { attempt: 2 });
    expect(before.filter(isThere)).toEqual([]);
    expect(await landing.dataset()).toMatchObject({ is_staged: false, staged_path: null });
    expect((await landing.states()).filter((state) => state === 'PURGED')).toHaveLength(1);
  },
);

test('killed when all was recorded, the next attempt removes the alias folder', async () => {
  const landing = await landed();
  const { aliasFolder } = stagedCopyOf(landing.place.config, await landing.dataset());
  await killedOnceRecorded(landing, 'purge_dataset');
  expect(isThere(aliasFolder)).toBe(true);
  await landing.run('purge_dataset', { attempt: 2 });
  expect(isThere(aliasFolder)).toBe(false);
});

test.each(['purge_dataset', 'delete_dataset'])(
  '%s refuses while the stage folder is an empty mount point, and everything is still there when it is back',
  async (task) => {
    const landing = await landed();
    const before = await parts(landing);
    const stage = landing.place.path('data/staged/raw_data');
    const mount = unmount(stage);
    const error = await landing.fails(task, { kwargs: { force: true } });
    expect(error).toMatchObject({ code: 'E_STAGE_AWAY', fields: { path: stage } });
    expect(await landing.dataset()).toMatchObject({ is_staged: true, is_deleted: false });
    expect(landing.audit).toEqual([]);
    mount();
    expect(await parts(landing)).toEqual(before);
    await landing.run(task, { attempt: 2 });
    expect(before.filter(isThere)).toEqual([]);
  },
);

test('a worker that lost its job purges nothing', async () => {
  const landing = await landed();
  const before = await parts(landing);
  const lost = new Error('lease lost');
  await expect(
    landing.run('purge_dataset', {
      lease: () => {
        throw lost;
      },
    }),
  ).rejects.toBe(lost);
  expect(await parts(landing)).toEqual(before);
});

test('while another task works on the staged copy, a purge and a deletion come again later and hold no slot', async () => {
  const landing = await landed();
  const before = await parts(landing);
  const asked: string[] = [];
  const permit = (resource: string): boolean => {
    asked.push(resource);
    return false;
  };
  for (const task of ['purge_dataset', 'delete_dataset']) {
    const answer = await landing.run(task, { permit });
    expect(answer).toMatchObject({ postpone: { reason: expect.stringContaining('another task') } });
  }
  expect(asked).toEqual(Array.from({ length: 2 }, () => `dataset:${landing.id}:copies`));
  expect(await parts(landing)).toEqual(before);
});

test('leftovers of attempts that were killed go with the copy', async () => {
  const landing = await landed();
  const [tree = ''] = await parts(landing);
  const half = `${dirname(tree)}/.run_A.partial-deadbeef`;
  mkdirSync(half);
  // Fetched from a tape, to be unpacked and not kept.
  const fetched = partialPath(fetchedBundleOf(landing.place.config, await landing.dataset()), 'deadbeef');
  for (const path of [fetched, `${fetched}.from`]) writeFileSync(path, 'half');
  await landing.run('purge_dataset');
  expect([fetched, `${fetched}.from`].filter(isThere)).toEqual([]);
  expect(isThere(dirname(half))).toBe(false);
});
