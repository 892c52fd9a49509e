/** pm2 app `worker`: one worker of the fleet. As many as wanted, on as many machines as see the same storage. */
import { configOrExit } from '../config/index.ts';
import { isLongshoreError } from './errors.ts';
import { EXIT_DRAINED } from './fleet/pm2.ts';
import { startWorkerProcess, type WorkerProcess } from './fleet/worker-process.ts';
import { createLogger } from './log.ts';

/** Within pm2's kill_timeout of 10 s: better to leave by ourselves than to be killed in the middle of a write. */
const LEAVE_WITHIN_MS = 9_500;

const config = await configOrExit();
const log = createLogger('worker');
let leaving = false;
const started = startOrExit();
// Before anything else: without a handler this signal kills, and the order may come while the worker still starts.
process.once('SIGUSR2', () => void drainAndLeave());
const worker = await started;
if (process.send !== undefined) process.send('ready');

async function startOrExit(): Promise<WorkerProcess> {
  try {
    return await startWorkerProcess(config, log);
  } catch (error) {
    if (!isLongshoreError(error)) throw error;
    log.fatal({ code: error.code, hint: error.hint }, error.message);
    process.exit(78); // EX_CONFIG: starting again changes nothing before a person does.
  }
}

/** Told to go by who scales down: its jobs end here, however long they take, and pm2 does not start it again. */
async function drainAndLeave(): Promise<void> {
  process.on('SIGUSR2', () => undefined); // Told twice: once is enough.
  const draining = await started;
  await draining.drain();
  if (leaving) return;
  leaving = true;
  await draining.shutdown('drained');
  process.exit(EXIT_DRAINED);
}

for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  process.on(signal, () => {
    if (leaving) process.exit(1); // Asked twice: at once. Its tasks notice and end themselves.
    leaving = true;
    setTimeout(() => process.exit(1), LEAVE_WITHIN_MS).unref();
    worker.shutdown(signal).then(
      () => process.exit(0),
      (error: unknown) => {
        log.error({ err: error }, 'the worker did not stop in good order');
        process.exit(1);
      },
    );
  });
}
