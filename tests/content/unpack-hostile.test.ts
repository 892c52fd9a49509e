/** Bundles that somebody made to do harm: each is refused with a code, or comes out harmless; nothing is written outside. */
import { execFileSync } from 'node:child_process';
import { statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { reportOf } from '../../workers/errors.ts';
import { attacks, besieged, file, folder, hard, link, made, unpack } from './siege.ts';
import { gnuLong, member, pax, tar } from './tar-writer.ts';

attacks('names that lead out', [
  ['.. first', tar(file('../victim')), 'unsafe'],
  ['.. in the middle', tar(file('a/../../victim')), 'unsafe'],
  ['.. that would stay inside', tar(folder('a'), file('a/../x')), 'unsafe'],
  ['.. at the end', tar(folder('a/..')), 'unsafe'],
  ['.. behind ./', tar(file('./../victim')), 'unsafe'],
  ['.. behind //', tar(file('a//..//../victim')), 'unsafe'],
  ['.. alone', tar(folder('..')), 'unsafe'],
  ['.. in the prefix', tar(member({ name: 'victim', prefix: '../..', data: 'evil' })), 'unsafe'],
  ['.. in a pax path', tar(pax({ path: '../victim' }), file('x')), 'unsafe'],
  ['.. in a global pax path', tar(pax({ path: '../victim' }, 'g'), file('x')), 'unsafe'],
  [
    '.. in a long name of GNU',
    tar(gnuLong('L', `${'a/'.repeat(100)}${'../'.repeat(102)}victim`), file('x')),
    'unsafe',
  ],
  [
    '.. in the name of a sparse file',
    tar(pax({ 'GNU.sparse.name': '../victim', 'GNU.sparse.size': '4', 'GNU.sparse.map': '0,4' }), file('x')),
    'unsafe',
  ],
  ['absolute', (place) => tar(pax({ path: place.path('victim') }), file('x')), 'unsafe'],
  ['absolute in a long name of GNU', (place) => tar(gnuLong('L', place.path('victim')), file('x')), 'unsafe'],
  [
    'absolute by the prefix',
    tar(member({ name: 'passwd', prefix: '/tmp/longshore', data: 'evil' })),
    'unsafe',
  ],
  ['an absolute folder', (place) => tar(pax({ path: place.path('victims') }), folder('x')), 'unsafe'],
  ['a backslash is a character', tar(file('..\\victim')), ['..\\victim f4']],
  ['three dots are a name', tar(file('.../x')), ['... d', '.../x f4']],
]);

attacks('symbolic links that lead out', [
  ['absolute', (place) => tar(pax({ linkpath: place.path('victim') }), link('x', '')), 'unsafe'],
  ['with ..', tar(link('x', '../victim')), 'unsafe'],
  ['with .. from a folder', tar(link('d/x', '../../victim')), 'unsafe'],
  ['with .. after a name', tar(folder('d'), link('x', 'd/../../victim')), 'unsafe'],
  [
    'with .. in a long target of GNU',
    tar(gnuLong('K', `${'./'.repeat(100)}../victim`), link('x', '')),
    'unsafe',
  ],
  ['with .. in a pax target', tar(pax({ linkpath: '../victim' }), link('x', 'harmless')), 'unsafe'],
  ['through a second link', tar(link('d', '.'), link('e', 'd/../..')), 'unsafe'],
  ['in place of the dataset', tar(link('.', '../victims')), 'unsafe'],
  ['in place of the dataset, inside', tar(link('.', 'sub')), 'unsafe'],
  ['without a target', tar(link('x', '')), 'unsafe'],
  ['with a zero byte', tar(pax({ linkpath: 'a\0b' }), link('x', '')), 'unsafe'],
  ['of 5000 bytes', tar(gnuLong('K', 'a'.repeat(5000)), link('x', '')), 'unsafe'],
  ['to itself', tar(link('x', 'x')), ['x l1 x']],
]);

// The folder that all members share is left out of the path that is published, so a step up to it leads out.
attacks('symbolic links below a top folder', [
  ['into it', tar(folder('top'), file('top/f'), link('top/x', '../victim')), 'unsafe'],
  ['into it, where it is no member', tar(file('top/f'), link('top/x', '../victim')), 'unsafe'],
  ['before it is known', tar(link('p/q/r/x', '../../../victim'), file('p/q/r/f')), 'unsafe'],
  ['as one more name of a link', tar(file('p/f'), link('p/d/x', '../f'), hard('p/y', 'p/d/x')), 'unsafe'],
  [
    'that stay inside',
    tar(file('p/f'), link('p/d/x', '../f'), hard('p/d/y', 'p/d/x')),
    ['p d', 'p/d d', 'p/d/x l4 ../f', 'p/d/y l4 ../f', 'p/f f4'],
  ],
]);

attacks('members through links', [
  ['a file through one', tar(link('d', 'sub'), file('d/x')), 'unsafe'],
  ['a file through one that comes later', tar(file('d/x'), link('d', 'sub')), 'unsafe'],
  ['a file through one to the dataset', tar(link('d', '.'), file('d/x')), 'unsafe'],
  ['a folder through one', tar(link('d', 'sub'), folder('d/x')), 'unsafe'],
  ['a file over one', tar(link('d', 'sub'), file('d')), 'unsafe'],
  ['a folder over one', tar(link('d', 'sub'), folder('d')), 'unsafe'],
  ['one over a folder', tar(folder('d'), link('d', '.')), 'unsafe'],
  ['one over a full folder', tar(file('d/x'), link('d', '.')), 'unsafe'],
  ['one over a file', tar(file('d'), link('d', 'x')), 'unsafe'],
  ['a link through a link', tar(link('d', '.'), link('d/x', 'y')), 'unsafe'],
  // Each link alone stays inside, by its own name; made one through the other they climb two folders.
  [
    'links that climb',
    tar(folder('a'), link('a/b', '..'), link('a/b/c', '../..'), link('a/b/c/evil', 'x')),
    'unsafe',
  ],
  [
    'links that climb, backwards',
    tar(link('a/b/c/evil', 'x'), link('a/b/c', '../..'), link('a/b', '..')),
    'unsafe',
  ],
  [
    'links that climb and make folders',
    tar(link('a/b', '..'), link('a/b/c', '../..'), link('a/b/c/d/e/evil', 'x')),
    'unsafe',
  ],
  ['a hard link through a link', tar(link('d', 'sub'), file('sub/y'), hard('d/x', 'sub/y')), 'unsafe'],
  ['a hard link to what is behind a link', tar(link('d', 'sub'), file('sub/y'), hard('x', 'd/y')), 'unsafe'],
  ['a member below a file', tar(file('d'), file('d/x')), 'unsafe'],
  ['a folder below a file', tar(file('d'), folder('d/x')), 'unsafe'],
]);

attacks('hard links', [
  ['with ..', tar(hard('x', '../victim')), 'unsafe'],
  ['absolute', (place) => tar(pax({ linkpath: place.path('victim') }), hard('x', '')), 'unsafe'],
  [
    'with .. in a long target of GNU',
    tar(gnuLong('K', `${'./'.repeat(100)}../victim`), hard('x', '')),
    'unsafe',
  ],
  ['to nothing', tar(hard('x', 'none')), 'unsafe'],
  ['to itself', tar(hard('x', 'x')), 'unsafe'],
  ['in a circle', tar(hard('x', 'y'), hard('y', 'x')), 'unsafe'],
  ['to a symbolic link', tar(hard('x', 'l'), link('l', 'y'), hard('z', 'x')), ['l l1 y', 'x l1 y', 'z l1 y']],
  ['to a symbolic link that leads out from there', tar(link('d/l', '../y'), hard('x', 'd/l')), 'unsafe'],
  ['to a symbolic link behind another', tar(link('d/l', 'y'), link('e', 'd'), hard('x', 'e/l')), 'unsafe'],
  ['to a symbolic link, over another', tar(link('l', 'y'), link('x', 'z'), hard('x', 'l')), 'unsafe'],
  ['below a symbolic link to one', tar(link('l', '.'), link('d', '.'), hard('d/x', 'l')), 'unsafe'],
  ['to a folder', tar(folder('d'), hard('x', 'd')), 'unsafe'],
  ['to the dataset', tar(hard('x', '.')), 'unsafe'],
  ['in place of the dataset', tar(file('f'), hard('.', 'f')), 'unsafe'],
  ['over another file', tar(file('f'), file('x'), hard('x', 'f')), 'unsafe'],
  ['of 5000 bytes', tar(gnuLong('K', 'a'.repeat(5000)), hard('x', '')), 'unsafe'],
  ['to a later file', tar(hard('x', 'f'), file('f')), ['f f4', 'x f4']],
  ['to its own file, which stands', tar(file('x'), hard('x', 'x')), 'unsafe'],
]);

attacks('types', [
  ['a character device', tar(member({ type: '3' })), 'unsafe'],
  ['a block device', tar(member({ type: '4' })), 'unsafe'],
  ['a FIFO', tar(member({ type: '6' })), 'unsafe'],
  ['a multi-volume part of GNU', tar(member({ type: 'M', data: 'rest' })), 'unsafe'],
  ['a folder list of GNU', tar(member({ name: 'd/', type: 'D', data: 'Yx\0\0' })), 'unsafe'],
  ['an old long name of GNU', tar(member({ type: 'N', data: 'Rename a to b\n' })), 'unsafe'],
  ['an inode of Solaris', tar(member({ type: 'I' })), 'unsafe'],
  ['a vendor type', tar(member({ type: 'Z' })), 'unsafe'],
  ['a type that is no character', tar(member({ type: '\xff' })), 'unsafe'],
  ['a volume label is no member', tar(member({ name: '../label', type: 'V' }), file('x')), ['x f4']],
  ['a contiguous file is a file', tar(member({ type: '7', data: 'evil' })), ['x f4']],
  ['an old folder is a folder', tar(member({ name: 'd/', type: '\0' }), file('d/x')), ['d d', 'd/x f4']],
]);

attacks('the same name twice', [
  ['file, file', tar(file('x', 'first'), file('x', 'second one')), 'unsafe'],
  ['file, folder', tar(file('x'), folder('x')), 'unsafe'],
  ['folder, file', tar(folder('x'), file('x')), 'unsafe'],
  ['full folder, file', tar(file('x/y'), file('x')), 'unsafe'],
  ['folder, folder', tar(folder('x'), file('x/y'), folder('x')), ['x d', 'x/y f4']],
  ['link, file', tar(link('x', 'y'), file('x')), 'unsafe'],
  ['file, link', tar(file('x'), link('x', 'y')), 'unsafe'],
  ['link, folder', tar(link('x', 'y'), folder('x')), 'unsafe'],
  ['folder, link', tar(folder('x'), link('x', 'y')), 'unsafe'],
  ['link, another link', tar(link('x', 'y'), link('x', 'z')), 'unsafe'],
  ['link, the same link', tar(link('x', 'y'), link('x', 'y')), 'unsafe'],
  ['file, link, file', tar(file('x'), link('x', 'y'), file('x')), 'unsafe'],
  ['other spellings of it', tar(file('x/y', '1'), file('./x/y', '22'), file('x//y', '333')), 'unsafe'],
]);

test('where it is allowed the later one stays, is counted once and is told', async () => {
  const place = await besieged();
  const twice = [file('x', 'first'), link('l', 'x'), file('x', 'second one'), link('l', 'x')];
  writeFileSync(place.path('bundle.tar'), tar(folder('d'), ...twice, file('d/y'), folder('d')));
  const result = await unpack(place, { foreign: { duplicates: 'replace', max_expansion: 1000 } });
  expect(made(place)).toEqual(['d d', 'd/y f4', 'l l1 x', 'x f10']);
  expect(result).toMatchObject({
    num_files: 3,
    bytes: 14,
    warnings: ['2 members were replaced by later ones'],
  });
});

attacks('strange names', [
  ['none', tar(file('')), 'unsafe'],
  ['none, of a folder', tar(folder('')), []],
  ['a dot', tar(file('.')), 'unsafe'],
  ['dots and slashes', tar(file('././/.')), 'unsafe'],
  ['double slashes', tar(file('a//b///c')), ['a d', 'a/b d', 'a/b/c f4']],
  ['a slash at the end of a file', tar(file('x/')), ['x f4']],
  ['slashes at the end of a folder', tar(folder('d///')), ['d d']],
  ['5000 bytes', tar(gnuLong('L', 'a'.repeat(5000)), file('x')), 'unsafe'],
  ['5000 bytes in a pax path', tar(pax({ path: 'a'.repeat(5000) }), folder('x')), 'unsafe'],
  ['2500 folders', tar(gnuLong('L', 'a/'.repeat(2500)), file('x')), 'unsafe'],
  ['256 bytes in a new folder', tar(pax({ path: `p/q/${'a'.repeat(256)}` }), file('x')), 'unsafe'],
  [
    'a folder of 256 bytes in a new folder',
    tar(pax({ path: `p/${'a'.repeat(256)}/q` }), link('x', 'y')),
    'unsafe',
  ],
  ['a zero byte', tar(pax({ path: 'a\0b' }), file('x')), 'unsafe'],
  ['a newline', tar(pax({ path: 'a\nb' }), file('x')), ['a\nb f4']],
  [
    'bytes that are no text',
    tar(member({ name: Buffer.from('\xff\xfe', 'latin1'), data: '' })),
    ['\ufffd\ufffd f0'],
  ],
]);

test.each([
  ['a name', tar(gnuLong('L', `/${'a'.repeat(1_000_000)}`), file('x'))],
  ['a target', tar(gnuLong('K', `/${'a'.repeat(1_000_000)}`), link('x', ''))],
])('%s of a megabyte is not told whole', async (_, bundle) => {
  const place = await besieged();
  writeFileSync(place.path('bundle.tar'), bundle);
  const refused = await unpack(place).catch((error: unknown) => error);
  expect(refused).toMatchObject({ code: 'E_BUNDLE_UNSAFE' });
  expect(JSON.stringify(reportOf(refused)).length).toBeLessThan(10_000);
});

test('setuid is not taken over from a bundle', async () => {
  const place = await besieged();
  writeFileSync(join(place.dir('source'), 'program'), '#!/bin/sh\n');
  execFileSync('chmod', ['6755', place.path('source/program')]);
  execFileSync('tar', ['cf', place.path('bundle.tar'), '-C', place.path('source'), '.']);
  await unpack(place);
  expect(statSync(place.path('a/b/out/program')).mode & 0o7777).toBe(0o755);
});
