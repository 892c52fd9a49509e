import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from '../log.ts';
import type { Engine } from '../workflows/engine.ts';

const CLOSE_MS = 2_000;

/**
 * Puts what was registered into the queue, in the background. Records come first: while Redis is away, folders are
 * registered all the same, and their workflows are queued when it answers. What a crash leaves out is found by the
 * reconciliation at the next start and by the workers' own.
 */
export interface Queueing {
  enqueue: (workflow_id: string) => Promise<void>;
  /** Resolves to false when something is still not queued after `ms`. */
  drained(ms: number): Promise<boolean>;
  close(): Promise<void>;
}

export function createQueueing(
  engine: Pick<Engine, 'enqueue' | 'reconcile' | 'close'>,
  log: Logger,
): Queueing {
  const waiting = new Set<string>();
  let closing = false;
  let connected = false;
  let failed = false;
  let running: Promise<void> = begin();

  async function begin(): Promise<void> {
    try {
      const { repaired } = await engine.reconcile();
      for (const id of repaired) waiting.delete(id);
      connected = true;
      await drain();
    } catch (error) {
      failed = true;
      if (!closing)
        log.error({ err: error }, 'the queue is out of reach; the workers will queue what is registered');
    }
  }

  async function drain(): Promise<void> {
    for (const id of waiting) {
      if (closing) return;
      try {
        await engine.enqueue(id);
      } catch (error) {
        log.warn(
          { workflow_id: id, err: error },
          'not queued; the workers will put the workflow into the queue',
        );
      }
      waiting.delete(id);
    }
  }

  return {
    async enqueue(workflow_id) {
      waiting.add(workflow_id);
      if (connected) running = running.then(drain);
      else if (failed) {
        // Redis may take by now what it refused, as a password that was corrected there.
        failed = false;
        running = begin();
      }
    },
    async drained(ms) {
      const timer = AbortSignal.timeout(ms);
      const late = new Promise<false>((resolve) => {
        timer.addEventListener('abort', () => resolve(false), { once: true });
      });
      for (let before: Promise<void> | null = null; before !== running; ) {
        before = running;
        if ((await Promise.race([running, late])) === false) return false;
      }
      return waiting.size === 0;
    },
    async close() {
      closing = true;
      const closed = engine.close().catch((error: unknown) => {
        log.debug({ err: error }, 'the connection to the queue was given up before it was made');
      });
      // A Redis that does not answer would be waited for until it does.
      const waited = new AbortController();
      await Promise.race([
        closed,
        sleep(CLOSE_MS, undefined, { signal: waited.signal }).catch(() => undefined),
      ]);
      waited.abort();
    },
  };
}
