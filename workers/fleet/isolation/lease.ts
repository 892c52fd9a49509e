import { errorFromReport, LongshoreError } from '../../errors.ts';
import type { FromTask, ToTask } from './messages.ts';

/** The task's side of the lease: each question is put to the worker, which proves it against queue and records. */
export interface Lease {
  /** @throws E_LEASE_LOST, or the reason for which the task was stopped */
  assert(): Promise<void>;
  /** One of `limit` permits of the fleet; false when all are taken. */
  permit(resource: string, limit: number): Promise<boolean>;
  /** For the answers that come in. */
  answered(answer: Extract<ToTask, { kind: 'lease' | 'permit' }>): void;
}

/** @param signal of the end of the lease; a soft time limit does not abort it, so that the task can publish what it has */
export function createLease(send: (message: FromTask) => void, signal: AbortSignal): Lease {
  const open = new Map<number, { resolve: (granted: boolean) => void; reject: (error: unknown) => void }>();
  let asked = 0;
  signal.addEventListener('abort', () => {
    for (const { reject } of open.values()) reject(signal.reason);
    open.clear();
  });
  const ask = async (message: (question: number) => FromTask): Promise<boolean> => {
    signal.throwIfAborted();
    asked += 1;
    const question = asked;
    // No time limit: a worker that is gone takes this process with it, one that is slow will still answer truly.
    return new Promise<boolean>((resolve, reject) => {
      open.set(question, { resolve, reject });
      send(message(question));
    });
  };
  return {
    assert: async () => void (await ask((question) => ({ kind: 'lease', question }))),
    permit: (resource, limit) => ask((question) => ({ kind: 'permit', question, resource, limit })),
    answered: (answer) => {
      const waiting = open.get(answer.question);
      open.delete(answer.question);
      if (answer.kind === 'permit') {
        if (answer.error === null) waiting?.resolve(answer.granted);
        else waiting?.reject(errorFromReport(answer.error));
      } else if (answer.held) waiting?.resolve(true);
      else
        waiting?.reject(new LongshoreError('E_LEASE_LOST', `this attempt may not publish: ${answer.reason}`));
    },
  };
}
