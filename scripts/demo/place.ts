import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statfsSync } from 'node:fs';
import { join } from 'node:path';
import { writeSmall } from '../../workers/content/files.ts';
import { LongshoreError } from '../../workers/errors.ts';
import { bytes } from '../cli/format.ts';

const MARK = '.longshore-demo';

/** The demo's own corner: nothing is read from or written to anywhere else. */
export interface DemoPlace {
  readonly folder: string;
  readonly logs: string;
  readonly raw: string;
  readonly products: string;
  /** Where samples are written before they are dropped. */
  readonly aside: string;
  /** `.env` of this run: `LONGSHORE_DOTENV=… npx longshore …` talks to it. */
  readonly dotenv: string;
}

/** @throws E_USAGE when the folder holds something else than an earlier demo, or one that still runs */
export function makeDemoPlace(folder: string): DemoPlace {
  const other = runningIn(folder);
  if (other !== null) {
    throw new LongshoreError(
      'E_USAGE',
      `a demo runs in ${folder} already (process ${other}); nothing was touched`,
      {
        hint: 'Wait for it, end it with Ctrl-C, or give --at another folder.',
      },
    );
  }
  if (existsSync(folder) && readdirSync(folder).length > 0 && !existsSync(join(folder, MARK))) {
    throw new LongshoreError(
      'E_USAGE',
      `${folder} is not empty and was not made by a demo; nothing was touched`,
      {
        hint: 'Give --at another folder, or empty this one yourself.',
      },
    );
  }
  rmSync(folder, { recursive: true, force: true });
  const place = {
    folder,
    logs: join(folder, 'log'),
    raw: join(folder, 'source/raw_data'),
    products: join(folder, 'source/data_products'),
    aside: join(folder, 'source/aside'),
    dotenv: join(folder, '.env'),
  };
  for (const path of [place.logs, place.raw, place.products, place.aside])
    mkdirSync(path, { recursive: true });
  writeSmall(join(folder, MARK), String(process.pid));
  return place;
}

/** The process that marked the folder, if it still is a demo: its number may have been given to another program. */
function runningIn(folder: string): string | null {
  try {
    const pid = readFileSync(join(folder, MARK), 'utf8').trim();
    return /demo\.ts/.test(readFileSync(`/proc/${pid}/cmdline`, 'latin1')) ? pid : null;
  } catch {
    return null; // No mark, or no such process: the usual case.
  }
}

export interface DemoSettings {
  readonly raw_sources: readonly string[];
  readonly stable_after_seconds: number;
  readonly qc: boolean;
}

/** Everything by configuration, so that the processes are the production ones. */
export function writeSettings(place: DemoPlace, settings: DemoSettings): void {
  const overrides = {
    state_dir: place.folder,
    // Shorter than in production: who kills a worker to see what happens does not want to wait for half a minute.
    queue: { url: null, lock_seconds: 10, stalled_check_seconds: 2 },
    registration: {
      RAW_DATA: { source_dir: settings.raw_sources },
      DATA_PRODUCT: { source_dir: place.products },
      recency_threshold_seconds: settings.stable_after_seconds,
      wait_between_stability_checks_seconds: 1,
      poll_interval_seconds: 1,
      minimum_dataset_size: 0,
    },
    workflow_registry: { integrated: { then: settings.qc ? ['qc'] : [] } },
  };
  // Escaped for dotenv's single quotes, and against the expansion of ${…}: a path may hold both.
  const json = JSON.stringify(overrides)
    .replaceAll("'", String.raw`\u0027`)
    .replaceAll('$', String.raw`\u0024`);
  const lines = ['APP_ENV=local', `LONGSHORE_HOME=${quoted(place.folder)}`, `LONGSHORE_OVERRIDES='${json}'`];
  writeSmall(place.dotenv, `${lines.join('\n')}\n`);
}

function quoted(path: string): string {
  if (!/['\n$]/.test(path)) return `'${path}'`;
  throw new LongshoreError(
    'E_USAGE',
    `the demo cannot run in ${JSON.stringify(path)}: the path holds a quote, a dollar or a line end`,
  );
}

/** Archive, staged tree and staged bundle: three copies, and what the configuration keeps free. */
export function assertSpace(place: DemoPlace, source_bytes: number, files: number): void {
  const { bavail, bsize } = statfsSync(place.folder);
  const have = bavail * bsize;
  const need = 3 * (source_bytes + files * 4096) + 256 * 1024 ** 2;
  if (have >= need) return;
  throw new LongshoreError(
    'E_NO_SPACE',
    `landing ${bytes(source_bytes)} needs ${bytes(need)} below ${place.folder}, but ${bytes(have)} are free`,
    {
      fields: { path: place.folder, need, have },
      hint: 'The archive, the staged copy and its bundle are kept side by side. Free space, or give --at a folder on another disk.',
    },
  );
}
