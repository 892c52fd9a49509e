/** pm2 app `worker`: one worker of the fleet. As many as wanted, on as many machines as see the same storage. */
import { configOrExit } from '../config/index.ts';
import { coerceError, isLongshoreError } from './errors.ts';
import { startWorkerProcess, type WorkerProcess } from './fleet/worker-process.ts';
import { createLogger } from './log.ts';
import { deniedByRedis } from './redis-answer.ts';

/** Within pm2's kill_timeout of 10 s: better to leave by ourselves than to be killed in the middle of a write. */
const LEAVE_WITHIN_MS = 9_500;

const config = await configOrExit();
const log = createLogger('worker');
const started = startOrExit();
// Who scales down may say so while the worker still starts; without a handler this signal kills.
process.on('SIGUSR2', () => {
  void started.then((one) => one.leave({ reason: 'scaled down', immediate: false, restart: false }));
});
const worker = await started;
if (process.send !== undefined) process.send('ready');

async function startOrExit(): Promise<WorkerProcess> {
  try {
    return await startWorkerProcess(config, log);
  } catch (error) {
    const { code, message, hint } = coerceError(error);
    if (isLongshoreError(error) || deniedByRedis(error)) {
      log.fatal({ code, hint }, message);
      process.exit(78); // EX_CONFIG: starting again changes nothing before a person does.
    }
    log.fatal({ code, err: error }, `the worker could not start: ${message}`);
    process.exit(1);
  }
}

let leaving = false;
worker.gone.then(
  // By now its jobs have ended, or somebody wants them back without a wait.
  ({ reason, code }) => leave(reason, { at_once: true, then: () => process.exit(code) }),
  () => undefined,
);
for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  process.on(signal, () => {
    if (leaving) cutOff('it was asked twice', () => process.exit(1));
    leave(signal, { then: () => process.exit(0), otherwise: () => process.exit(1) });
  });
}
void worker.reload.restart.then(({ files }) =>
  leave(`restart: ${files.join(', ')} changed`, { then: startAgain }),
);

interface Leaving {
  at_once?: boolean;
  then: () => never;
  /** Where it did not leave in good order; default: the same. */
  otherwise?: () => never;
}

/** Within LEAVE_WITHIN_MS, whatever hangs. */
function leave(reason: string, { at_once = false, then, otherwise = then }: Leaving): void {
  if (leaving) return;
  leaving = true;
  setTimeout(() => cutOff(`not done after ${LEAVE_WITHIN_MS / 1000} s`, otherwise), LEAVE_WITHIN_MS).unref();
  worker.shutdown(reason, { at_once }).then(then, (error: unknown) => {
    log.error({ err: error }, 'the worker did not stop in good order');
    otherwise();
  });
}

/** At once. Tasks that run notice and end themselves; jobs come back when their locks have run out. */
function cutOff(why: string, end: () => never): never {
  const jobs = worker.inHand();
  log.error({ why, jobs }, `the shutdown was cut off; ${jobs.length} jobs were not handed back`);
  return end();
}

/** pm2 starts again what has ended. Without it the process replaces itself, and keeps its number for whoever started it. */
function startAgain(): never {
  if (process.env.pm_id !== undefined) process.exit(0);
  process.execve?.(
    process.execPath,
    [process.execPath, ...process.execArgv, ...process.argv.slice(1)],
    process.env,
  );
  log.error('this Node cannot start the worker again; start it by hand');
  process.exit(1);
}
