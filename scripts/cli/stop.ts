import { LongshoreError } from '../../workers/errors.ts';

/** Lets a person's Ctrl-C end a long command in good order. */
export function stopOnSignal(
  what: string,
  outcome: string,
  hint = 'Start it again when you want it.',
): { signal: AbortSignal; end: () => void } {
  const stopped = new AbortController();
  const stop = (signal: NodeJS.Signals): void =>
    stopped.abort(new LongshoreError('E_REVOKED', `${what} was stopped by ${signal}; ${outcome}`, { hint }));
  process.once('SIGINT', stop).once('SIGTERM', stop);
  return { signal: stopped.signal, end: () => void process.off('SIGINT', stop).off('SIGTERM', stop) };
}
