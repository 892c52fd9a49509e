import { comparePaths } from '../path.ts';

interface Placed {
  readonly path: string;
}

/**
 * Members of two sides that belong together; null where one side has none. Both come in the order of a walk, and are merged
 * like two sorted lists, so that neither is ever held as a whole. Both are returned from, however it ends: a walk holds
 * folders open.
 */
export function* pairUp<Left extends Placed, Right extends Placed>(
  left: Generator<Left>,
  right: Generator<Right>,
): Generator<[Left | null, Right | null], void, undefined> {
  try {
    let [one, other] = [left.next(), right.next()];
    while (!one.done || !other.done) {
      const order = one.done ? 1 : other.done ? -1 : comparePaths(one.value.path, other.value.path);
      yield [order <= 0 && !one.done ? one.value : null, order >= 0 && !other.done ? other.value : null];
      if (order <= 0) one = left.next();
      if (order >= 0) other = right.next();
    }
  } finally {
    left.return(undefined);
    right.return(undefined);
  }
}
