import { describe, expect, test } from 'vitest';
import { globToRegExp, matcher } from '../../workers/watch/rejects.ts';

const cases: [glob: string, matches: string[], others: string[]][] = [
  ['*', ['a', '.hidden', 'a\nb', ''], []],
  ['.*', ['.a', '..', '.\n'], ['a.b']],
  ['.snapshots', ['.snapshots'], ['.snapshot', '.snapshots2', 'x.snapshots', 'Xsnapshots']],
  ['_testObservedPath_*', ['_testObservedPath_1', '_testObservedPath_'], ['_testobservedpath_1']],
  ['run?', ['run1', 'run\n', 'runé'], ['run', 'run12']],
  ['[a-c]x', ['ax', 'cx'], ['dx', 'Ax']],
  ['[!a-c]x', ['dx', '!x', '\nx'], ['ax', 'x']],
  ['[]]', [']'], ['[', '[]']],
  ['[!]]x', ['ax'], [']x']],
  ['[a-]', ['a', '-'], ['b']],
  ['[z-a]', [], ['z', 'a', '-']],
  ['[', ['['], ['']],
  ['a[b', ['a[b'], ['ab']],
  [String.raw`[\d]`, ['d', '\\'], ['1']],
  ['a(b)|c', ['a(b)|c'], ['ab', 'c']],
  ['{a,b}', ['{a,b}'], ['a']],
  ['!a', ['!a'], ['b']],
  ['a+', ['a+'], ['aa']],
  ['**', ['a', '.b'], []],
  ['*.tmp', ['.tmp', 'x.tmp', '-x.tmp'], ['x.tmpx', 'x.TMP']],
];

describe('reject globs', () => {
  test.each(cases)('%j reads as the shell does, on the whole name', (glob, matches, others) => {
    const pattern = globToRegExp(glob);
    expect(matches.filter((name) => !pattern.test(name))).toEqual([]);
    expect(others.filter((name) => pattern.test(name))).toEqual([]);
  });

  test('a name is rejected when any glob matches it, and none rejects nothing', () => {
    const rejected = matcher(['.*', 'tmp_*']);
    expect(['.a', 'tmp_1', 'run_tmp_1', 'a'].filter(rejected)).toEqual(['.a', 'tmp_1']);
    expect(matcher([])('anything')).toBe(false);
  });
});
