import { mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { writeSmall } from '../../workers/content/files.ts';
import { whyUnmounted } from '../../workers/content/mounted.ts';
import { appendLine } from '../../workers/content/pack/checkpoint.ts';
import { makePlace } from '../support/place.ts';
import { smallFileSystem } from '../support/small-file-system.ts';

test('what finds no room beside the data names its file, and leaves no half of a note', async (context) => {
  const place = await makePlace();
  const folder = smallFileSystem(place.dir('state'), ['size=64k']);
  if (folder === null) return context.skip('NOT TESTED: a tmpfs cannot be mounted here');
  mkdirSync(join(folder, 'mounts'));
  const others = join(folder, 'others');
  expect(() => {
    for (;;) writeSmall(others, Buffer.alloc(4096), { flag: 'a' });
  }).toThrow(expect.objectContaining({ code: 'ENOSPC', path: others }));
  const marks = join(folder, 'run.checkpoint');
  expect(() => appendLine(marks, {})).toThrow(expect.objectContaining({ code: 'ENOSPC', path: marks }));
  expect(() => whyUnmounted(folder, place.folder)).toThrow(
    expect.objectContaining({ code: 'ENOSPC', path: expect.stringContaining(folder) as string }),
  );
  const left = readdirSync(folder, { recursive: true, encoding: 'utf8' });
  expect(left.filter((name) => name.endsWith(`.${process.pid}`))).toEqual([]);
});
