import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { doctor, overrides } from '../support/doctor.ts';
import { makePlace } from '../support/place.ts';

test('an archive that lost its mark is a problem, and so is a required mark that is missing', async () => {
  const place = await makePlace();
  const near = { kind: 'filesystem', root: place.path('near') };
  const far = { kind: 'filesystem', root: place.path('far'), mark: 'required' };
  const env = overrides(place, { archive: { copies: ['near', 'far'], backends: { near, far } } });
  const first = await doctor(place, ['--only', 'archives'], env);
  expect(first.of('archive.reachable', 'near')).toMatchObject({
    level: 'ok',
    seen: expect.stringContaining('not used yet'),
  });
  expect(first.of('archive.reachable', 'far')).toMatchObject({ level: 'problem' });
  expect(first.of('archive.reachable', 'far')?.remedy).toContain('.longshore-archive');
  // This host has used it.
  mkdirSync(place.path('archives'));
  writeFileSync(place.path('archives', encodeURIComponent(place.path('near'))), '');
  const second = await doctor(place, ['--only', 'archives'], env);
  expect(second.of('archive.reachable', 'near')).toMatchObject({ level: 'problem' });
  expect(second.code).toBe(1);
});

test('a round trip puts, reads and deletes, and leaves nothing; a new archive is not marked by it', async () => {
  const place = await makePlace();
  const root = place.path('vault');
  const env = overrides(place, {
    archive: { copies: ['vault'], backends: { vault: { kind: 'filesystem', root } } },
  });
  const fresh = await doctor(place, ['--round-trip', '--only', 'archives'], env);
  expect(fresh.of('archive.round_trip')?.level).toBe('warning');
  expect(existsSync(root)).toBe(false);
  place.dir('vault');
  writeFileSync(join(root, '.longshore-archive'), '');
  place.dir('archives');
  writeFileSync(place.path('archives', encodeURIComponent(root)), '');
  const used = await doctor(place, ['--only', 'round-trip'], env);
  expect(used.findings.map(({ id, level }) => `${id} ${level}`)).toEqual([
    'archive.round_trip ok',
    'archive.round_trip ok',
  ]);
  const files = readdirSync(root, { recursive: true, withFileTypes: true }).filter((one) => one.isFile());
  expect(files.map(({ name }) => name)).toEqual(['.longshore-archive']);
  expect(readdirSync(place.config.paths.scratch)).toEqual([]);
});

test('a round trip that cannot write says at which step', async () => {
  const place = await makePlace();
  const root = place.dir('vault');
  writeFileSync(join(root, '.longshore-archive'), '');
  place.dir('archives');
  writeFileSync(place.path('archives', encodeURIComponent(root)), '');
  // The first folder of every key is a file.
  writeFileSync(join(root, place.folder.split('/')[1] ?? ''), '');
  const env = overrides(place, {
    archive: { copies: ['vault'], backends: { vault: { kind: 'filesystem', root } } },
  });
  const { code, of } = await doctor(place, ['--only', 'round-trip'], env);
  expect(code).toBe(1);
  expect(of('archive.round_trip')).toMatchObject({
    level: 'problem',
    seen: expect.stringMatching(/^put: /),
  });
});
