/** pm2 app `watch`: registers folders that appear in the configured sources. */
import { configOrExit } from '../config/index.ts';
import { LongshoreError } from '../workers/errors.ts';
import { createLogger } from '../workers/log.ts';
import { openStore } from '../workers/store.ts';
import { type ForeseenScan, foreseeScan } from '../workers/watch/foresee.ts';
import { createQueueing } from '../workers/watch/queueing.ts';
import {
  makeOwnSources,
  scanOnce,
  sourcesOf,
  type WatchParts,
  watchSources,
} from '../workers/watch/watch.ts';
import { createEngine } from '../workers/workflows/engine.ts';
import { oneLine } from './cli/format.ts';
import { createProgram, EXIT, flag, jsonOption, runProgram } from './cli/program.ts';
import { printJson, withStoreIfAny } from './cli/session.ts';

/** How long --once, and an orderly end, wait for Redis to take what was registered. */
const DRAIN_MS = 10_000;

const program = createProgram('watch', 'Watch the configured source folders and register what appears.', [
  'npm run watch                 watch until stopped',
  'npm run watch -- --once       one scan of each source, for cron',
  'npm run watch -- --once --dry-run',
])
  .option('--once', 'scan every source once, then end')
  .addOption(flag('dry-run', 'with --once: say what would be registered or started, and change nothing'))
  .addOption(jsonOption())
  .action(async (options: Options) => {
    if (options.dryRun && !options.once)
      throw new LongshoreError('E_USAGE', '--dry-run goes with --once', {
        hint: 'npm run watch -- --once --dry-run',
      });
    process.exitCode = await watch(options);
  });

interface Options {
  once?: boolean;
  dryRun?: boolean;
  json?: boolean;
}

async function watch({ once = false, dryRun = false, json = false }: Options): Promise<number> {
  const config = await configOrExit();
  const log = createLogger('watch', {}, { to: once ? 2 : 1, json });
  const stopping = stopSignal();
  if (dryRun)
    return withStoreIfAny(config, async (store) =>
      tellForeseen(await foreseeScan({ config, store, log }, stopping), json),
    );
  const store = await openStore(config);
  const wait_seconds = once ? DRAIN_MS / 1000 : Infinity;
  const queueing = createQueueing(await createEngine({ config, store, log, wait_seconds, stays: true }), log);
  const parts: WatchParts = { config, store, enqueue: queueing.enqueue, log };
  await makeOwnSources(config);
  try {
    if (once) return await reportOnce(parts, stopping, json, () => queueing.drained(DRAIN_MS));
    log.info({ sources: sourcesOf(config) }, 'watching');
    const watching = watchSources(parts);
    process.send?.('ready'); // pm2 with wait_ready.
    await aborted(stopping);
    await watching.stop();
    await queueing.drained(1000);
    log.info('stopped');
    return EXIT.ok;
  } finally {
    await queueing.close();
    await store.close();
  }
}

function tellForeseen(sources: readonly ForeseenScan[], json: boolean): number {
  if (json) printJson({ dry_run: true, sources });
  else for (const source of sources) process.stdout.write(foreseenText(source));
  if (!json) process.stdout.write('dry run: nothing was changed\n');
  return sources.every(({ result }) => result.outcome === 'scanned') ? EXIT.ok : EXIT.failed;
}

function foreseenText({ type, path, result, would, would_complete }: ForeseenScan): string {
  const listed = (rows: readonly { name: string; origin_path: string }[]): string =>
    rows.map(({ name, origin_path }) => `  ${name}  ${oneLine(origin_path)}\n`).join('');
  const head = `${type} ${oneLine(path)}:`;
  if (result.outcome === 'outage') return `${head} ${result.reason}\n`;
  const registered = `${head} ${would.length} would be registered\n${listed(would)}`;
  if (would_complete.length === 0) return registered;
  return `${registered}${head} ${would_complete.length} registered before would get the workflow they lack\n${listed(would_complete)}`;
}

async function reportOnce(
  parts: WatchParts,
  signal: AbortSignal,
  json: boolean,
  drained: () => Promise<boolean>,
): Promise<number> {
  const sources = await scanOnce(parts, signal);
  const queued = await drained();
  if (json) process.stdout.write(`${JSON.stringify({ sources, queued })}\n`);
  else
    for (const { type, path, result } of sources)
      process.stdout.write(
        `${type} ${oneLine(path)}: ${result.outcome === 'outage' ? result.reason : `${result.added - result.left} new, ${result.deleted} gone, ${result.left} left for the next scan`}\n`,
      );
  if (!queued)
    process.stderr.write('Registered, but not all is in the queue yet; the workers will see to it.\n');
  const complete = sources.every(({ result }) => result.outcome === 'scanned' && result.left === 0);
  return complete && queued ? EXIT.ok : EXIT.failed;
}

function stopSignal(): AbortSignal {
  const stopping = new AbortController();
  for (const name of ['SIGTERM', 'SIGINT'] as const) process.once(name, () => stopping.abort());
  return stopping.signal;
}

async function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  // Holds the process up while every timer is between two scans.
  const alive = setInterval(() => undefined, 1 << 30);
  await new Promise<void>((resolve) => {
    signal.addEventListener('abort', () => resolve(), { once: true });
  });
  clearInterval(alive);
}

await runProgram(program);
// A connection to a Redis that never answered would hold the process up.
process.exit();
