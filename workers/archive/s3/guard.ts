/**
 * A stream that can be left while it is silent: when the signal says so, or when nothing has come for `stall_seconds`.
 * The time that the reader takes between two chunks does not count. The source is told to close, but not waited for.
 */
export async function* guarded<T>(
  source: AsyncIterable<T>,
  { signal, stall_seconds }: { signal?: AbortSignal | undefined; stall_seconds?: number },
): AsyncGenerator<T> {
  signal?.throwIfAborted();
  const iterator = source[Symbol.asyncIterator]();
  let leave: ((reason: unknown) => void) | null = null;
  const onAbort = (): void => leave?.(signal?.reason);
  signal?.addEventListener('abort', onAbort);
  // One timer for all chunks, set back before each: there are ten thousand of them a second.
  const timer =
    stall_seconds === undefined
      ? null
      : setTimeout(() => leave?.(new Error(`no byte for ${stall_seconds} s`)), stall_seconds * 1000);
  try {
    for (;;) {
      timer?.refresh();
      // Not a race with one promise for all chunks: that one would keep a reaction for each of them.
      const next = await new Promise<IteratorResult<T>>((resolve, reject) => {
        leave = reject;
        iterator.next().then(resolve, reject);
      });
      leave = null;
      if (next.done === true) return;
      yield next.value;
      signal?.throwIfAborted();
    }
  } finally {
    if (timer !== null) clearTimeout(timer);
    signal?.removeEventListener('abort', onAbort);
    iterator.return?.().catch(() => undefined); // Why it is left is told already.
  }
}
