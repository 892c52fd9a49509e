/** Bundles that somebody made to do harm. */
import { execFileSync } from 'node:child_process';
import { existsSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { type UnpackResult, unpackBundle } from '../../workers/content/unpack.ts';
import { makePlace, type Place } from '../support/place.ts';

const unpack = (place: Place): Promise<UnpackResult> =>
  unpackBundle({ bundle: place.path('bundle.tar'), target: place.dir('out') });

/** Python makes what no honest tar would: each case is a list of [name, type, link target]. */
const EVIL: Record<string, [string, string, string][]> = {
  'a name with ..': [['../x', 'file', '']],
  'a name with .. in the middle': [['a/../../x', 'file', '']],
  'an absolute name': [['/tmp/longshore-evil', 'file', '']],
  'an absolute link': [['x', 'link', '/etc']],
  'a link that leaves': [['a/x', 'link', '../../etc']],
  'a link that leaves through a second link': [
    ['d', 'link', '.'],
    ['e', 'link', 'd/../..'],
  ],
  'a file through a link': [
    ['d', 'link', 'sub'],
    ['d/x', 'file', ''],
  ],
  'a file over a link': [
    ['d', 'link', 'sub'],
    ['d', 'file', ''],
  ],
  'a link over a folder': [
    ['d', 'folder', ''],
    ['d', 'link', '.'],
  ],
  'a hard link to the outside': [['x', 'hard', '../../../etc/passwd']],
  'a hard link to an absolute name': [['x', 'hard', '/etc/passwd']],
  'a hard link through a link': [
    ['d', 'link', 'sub'],
    ['x', 'hard', 'd/none'],
  ],
  'a device': [['null', 'device', '']],
  'a FIFO': [['pipe', 'fifo', '']],
};

for (const [what, members] of Object.entries(EVIL)) {
  test(`${what} is refused`, async () => {
    const place = await makePlace();
    const script = `
import io, json, sys, tarfile
types = {'file': tarfile.REGTYPE, 'link': tarfile.SYMTYPE, 'hard': tarfile.LNKTYPE, 'folder': tarfile.DIRTYPE,
         'device': tarfile.CHRTYPE, 'fifo': tarfile.FIFOTYPE}
with tarfile.open(sys.argv[1], 'w') as tar:
    for name, kind, target in json.loads(sys.argv[2]):
        info = tarfile.TarInfo(name)
        info.type, info.linkname = types[kind], target
        info.size = 4 if kind == 'file' else 0
        tar.addfile(info, io.BytesIO(b'evil'))
`;
    execFileSync('python3', ['-c', script, place.path('bundle.tar'), JSON.stringify(members)]);
    place.dir('out');
    const before = execFileSync(
      'find',
      [place.folder, '-path', place.path('out'), '-prune', '-o', '-print'],
      { encoding: 'utf8' },
    );
    await expect(unpack(place)).rejects.toMatchObject({ code: 'E_BUNDLE_UNSAFE' });
    const after = execFileSync('find', [place.folder, '-path', place.path('out'), '-prune', '-o', '-print'], {
      encoding: 'utf8',
    });
    expect(after).toBe(before);
    expect(existsSync('/tmp/longshore-evil')).toBe(false);
  });
}

test('an absurd size is refused before anything is written', async () => {
  const place = await makePlace();
  const script = `
import sys, tarfile
info = tarfile.TarInfo('huge'); info.size = 1 << 60
open(sys.argv[1], 'wb').write(info.tobuf(tarfile.GNU_FORMAT) + b'\\0' * 1024)
`;
  execFileSync('python3', ['-c', script, place.path('bundle.tar')]);
  await expect(unpack(place)).rejects.toMatchObject({ code: 'E_BUNDLE_CORRUPT' });
  expect(existsSync(place.path('out/huge'))).toBe(false);
});

test('setuid is not taken over from a bundle', async () => {
  const place = await makePlace();
  writeFileSync(join(place.dir('source'), 'program'), '#!/bin/sh\n');
  execFileSync('chmod', ['6755', place.path('source/program')]);
  execFileSync('tar', ['cf', place.path('bundle.tar'), '-C', place.path('source'), '.']);
  await unpack(place);
  expect(statSync(place.path('out/program')).mode & 0o7777).toBe(0o755);
});
