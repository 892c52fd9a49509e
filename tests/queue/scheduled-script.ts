import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { onTestFinished, vi } from 'vitest';
import type { Place } from '../support/place.ts';

const root = join(import.meta.dirname, '../..');

/**
 * A scheduled script that takes its lock as the real ones do, then runs `body`, or `busy` when another holds the lock. Both
 * may `note(text)`, and wait until a file has `arrived(name)`.
 */
export function writeScript(place: Place, name: string, body: string, busy = '', times = ''): string {
  const folder = place.dir('scripts');
  writeFileSync(
    join(folder, `${name}.ts`),
    `import { appendFileSync, existsSync } from 'node:fs';
     import { setTimeout as sleep } from 'node:timers/promises';
     import { loadConfig } from '${root}/config/index.ts';
     import { createLogger } from '${root}/workers/log.ts';
     import { EXIT_BUSY, withScriptLock } from '${root}/workers/queue/script-lock.ts';
     const { config } = await loadConfig();
     const note = (text) => appendFileSync('${place.path('journal')}', text + '\\n');
     const arrived = async (file) => { while (!existsSync('${place.folder}/' + file)) await sleep(10); };
     const outcome = await withScriptLock(config, '${name}', createLogger('${name}'), async (signal) => { ${body} }${times === '' ? '' : `, ${times}`});
     if (!outcome.ran) { ${busy} }
     process.exit(outcome.ran ? process.exitCode ?? 0 : EXIT_BUSY);`,
  );
  return folder;
}

/** What the scripts of a place have noted. The file is there a moment before its first line. */
export const journal = (place: Place): string[] =>
  existsSync(place.path('journal'))
    ? readFileSync(place.path('journal'), 'utf8')
        .split('\n')
        .filter((line) => line !== '')
    : [];

/** The scripts are started by this process, and find the place's configuration in its environment. */
export function lendEnvironment(place: Place): void {
  for (const [name, value] of Object.entries(place.env)) vi.stubEnv(name, value);
  onTestFinished(() => void vi.unstubAllEnvs());
}
