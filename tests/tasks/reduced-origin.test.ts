/** What is archived and proven does not give way to an origin that holds less. */
import { mkdirSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { flip } from '../support/archived.ts';
import { type Landing, makeLanding } from './landing.ts';
import { files, found, two } from './two-archives.ts';

async function landed(config: Record<string, unknown> = {}): Promise<Landing & { bundle: string }> {
  const landing = await makeLanding(files, { config });
  await landing.upTo('validate_dataset');
  return { ...landing, bundle: (await landing.dataset()).archive_path as string };
}

describe('an archived bundle that was proven stays as it is', () => {
  test.each<[string, (origin: string) => void, Record<string, unknown>]>([
    [
      'is empty',
      (origin) => {
        rmSync(origin, { recursive: true });
        mkdirSync(origin);
      },
      { total: 2, path: 'a.txt', reason: 'is gone' },
    ],
    [
      'lacks a folder',
      (origin) => rmSync(join(origin, 'sub'), { recursive: true }),
      { total: 1, path: 'sub/b.bin', reason: 'is gone' },
    ],
    [
      'has a file cut short',
      (origin) => truncateSync(join(origin, 'sub/b.bin')),
      { total: 1, path: 'sub/b.bin', reason: 'has 0 of 300000 bytes' },
    ],
  ])('when the origin %s', async (_, reduce, fields) => {
    const landing = await landed();
    const before = readFileSync(landing.bundle);
    reduce(landing.origin);
    writeFileSync(join(landing.origin, 'new.txt'), 'new');
    const error = await landing.fails('archive_dataset', { attempt: 2 });
    expect(error).toMatchObject({ code: 'E_ORIGIN_REDUCED', class: 'operator', fields });
    expect(readFileSync(landing.bundle).equals(before)).toBe(true);
    // It is what a person may want all the same.
    await landing.run('archive_dataset', { attempt: 3, kwargs: { force: true } });
    expect(readFileSync(landing.bundle).equals(before)).toBe(false);
    expect((await landing.dataset()).bundle?.verified_at).toBeNull();
  });

  test('also the sound one of two, when the other was found damaged', async () => {
    const landing = await landed(two);
    const mirror = join(landing.place.path('mirror'), landing.bundle);
    const before = readFileSync(landing.bundle);
    flip(mirror, 5000);
    await found(landing, 'mirror', { key: landing.bundle });
    rmSync(join(landing.origin, 'a.txt'));
    expect((await landing.fails('archive_dataset', { attempt: 2 })).code).toBe('E_ORIGIN_REDUCED');
    expect(readFileSync(landing.bundle).equals(before)).toBe(true);
    // As the hint says: without the origin the damaged one is made from the sound one.
    rmSync(landing.origin, { recursive: true });
    await landing.run('archive_dataset', { attempt: 3 });
    expect(readFileSync(mirror).equals(before)).toBe(true);
  });

  test('also the only one, found damaged: what is whole in it may be the last', async () => {
    const landing = await landed();
    const before = readFileSync(landing.bundle);
    await found(landing, 'filesystem', { key: landing.bundle });
    rmSync(join(landing.origin, 'a.txt'));
    expect((await landing.fails('archive_dataset', { attempt: 2 })).code).toBe('E_ORIGIN_REDUCED');
    expect(readFileSync(landing.bundle).equals(before)).toBe(true);
  });
});

test('an origin with more, or with longer files, takes the place of what is archived', async () => {
  const landing = await landed();
  const before = statSync(landing.bundle);
  writeFileSync(join(landing.origin, 'a.txt'), 'alphabet');
  writeFileSync(join(landing.origin, 'c.txt'), 'gamma');
  await landing.run('archive_dataset', { attempt: 2 });
  expect(statSync(landing.bundle).ino).not.toBe(before.ino);
});

test('what took the place of a proven bundle does not give way to less either, before it is read back', async () => {
  const landing = await landed();
  writeFileSync(join(landing.origin, 'c.txt'), 'gamma');
  await landing.run('archive_dataset', { attempt: 2 });
  const before = readFileSync(landing.bundle);
  rmSync(join(landing.origin, 'a.txt'));
  expect((await landing.fails('archive_dataset', { attempt: 3 })).code).toBe('E_ORIGIN_REDUCED');
  expect(readFileSync(landing.bundle).equals(before)).toBe(true);
});

test('what was never proven gives way: a landing that did not come to its end is not relied on', async () => {
  const landing = await makeLanding(files);
  await landing.upTo('archive_dataset');
  const key = (await landing.dataset()).archive_path as string;
  await found(landing, 'filesystem', { key, result: 'ok', level: 'size' }); // Which proves nothing.
  rmSync(join(landing.origin, 'a.txt'));
  await landing.run('archive_dataset', { attempt: 2 });
  expect(await landing.store.catalog.countFiles(landing.id)).toBe(1);
});

describe('a bundle that the catalog does not know, as after it was lost or set back to a backup', () => {
  /** Registered anew by its origin, in a catalog that knows nothing of what was landed. */
  async function forgotten(change: (landing: { origin: string; bundle: string }) => void) {
    const { place, origin, bundle } = await landed();
    change({ origin, bundle });
    const archive = place.path('data/archive/{year}/raw_data');
    const anew = await makeLanding({}, { origin, config: { paths: { RAW_DATA: { archive } } } });
    await anew.run('inspect_dataset');
    return { ...anew, bundle, before: readFileSync(bundle) };
  }

  test('is taken over from an origin that is as it was', async () => {
    const landing = await forgotten(() => undefined);
    const { bundle, before, store, id } = landing;
    const { ino } = statSync(bundle);
    await landing.run('archive_dataset');
    expect(statSync(bundle).ino).toBe(ino);
    expect(await landing.dataset()).toMatchObject({ archive_path: bundle, bundle: { size: before.length } });
    expect(await store.catalog.countFiles(id)).toBe(2);
  });

  test('does not give way to an origin that holds less', async () => {
    const landing = await forgotten(({ origin }) => rmSync(join(origin, 'a.txt')));
    const { bundle, before } = landing;
    expect(await landing.fails('archive_dataset')).toMatchObject({
      code: 'E_ORIGIN_REDUCED',
      fields: { path: 'a.txt' },
    });
    expect(readFileSync(bundle).equals(before)).toBe(true);
    await landing.run('archive_dataset', { attempt: 2, kwargs: { force: true } });
    expect(readFileSync(bundle).equals(before)).toBe(false);
  });

  test.each<[string, (manifest: string) => void]>([
    ['no manifest', (manifest) => rmSync(manifest)],
    ['a damaged manifest', (manifest) => truncateSync(manifest, 100)],
  ])('with %s is left to a person', async (_, damage) => {
    const landing = await forgotten((before) => damage(`${before.bundle}.manifest.ndjson`));
    const { bundle, before } = landing;
    expect(await landing.fails('archive_dataset')).toMatchObject({
      code: 'E_BUNDLE_UNKNOWN',
      class: 'operator',
      fields: { path: bundle },
    });
    expect(readFileSync(bundle).equals(before)).toBe(true);
    await landing.run('archive_dataset', { attempt: 2, kwargs: { force: true } });
  });
});
