import { LongshoreError } from '../errors.ts';
import type { FromTask, ToTask } from './messages.ts';

/** The task's side of the lease: each question is put to the worker, which proves it against queue and records. */
export interface Lease {
  /** @throws E_LEASE_LOST, or the reason for which the task was stopped */
  assert(): Promise<void>;
  /** For the answers that come in. */
  answered(answer: Extract<ToTask, { kind: 'lease' }>): void;
}

export function createLease(send: (message: FromTask) => void, signal: AbortSignal): Lease {
  const open = new Map<number, { resolve: () => void; reject: (error: unknown) => void }>();
  let asked = 0;
  signal.addEventListener('abort', () => {
    for (const { reject } of open.values()) reject(signal.reason);
    open.clear();
  });
  return {
    assert: async () => {
      signal.throwIfAborted();
      asked += 1;
      const question = asked;
      // No time limit: a worker that is gone takes this process with it, one that is slow will still answer truly.
      await new Promise<void>((resolve, reject) => {
        open.set(question, { resolve, reject });
        send({ kind: 'lease', question });
      });
    },
    answered: ({ question, held, reason }) => {
      const waiting = open.get(question);
      open.delete(question);
      if (held) waiting?.resolve();
      else waiting?.reject(new LongshoreError('E_LEASE_LOST', `this attempt may not publish: ${reason}`));
    },
  };
}
