import { expect, test } from 'vitest';
import { normaliseName } from '../../workers/dataset/name.ts';

test.each([
  ['240101_A00001_0001_AHXXDRX2', '240101_A00001_0001_AHXXDRX2'],
  ['run 7 (a)', 'run-7-a-'],
  ['a--b..c', 'a-b-c'],
  ['ünï "x"\n', '-n-x-'],
  ['..', '-'],
])('%j is recorded as %j', (folder, name) => {
  expect(normaliseName(folder)).toBe(name);
  expect(normaliseName(name)).toBe(name);
});
