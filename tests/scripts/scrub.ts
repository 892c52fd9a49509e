/** Runs of the scrub over a vault, and what they tell. */
import { chmodSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { expect } from 'vitest';
import type { ScrubReport } from '../../scripts/fixity/scrub-run.ts';
import { type ScriptResult } from '../support/script.ts';
import { type Vault } from '../support/vault.ts';

export type Report = Omit<ScrubReport, 'rows'> & { copies: ScrubReport['rows'] };

export const reportOf = ({ stdout }: ScriptResult): Report => JSON.parse(stdout) as Report;
export const outcomes = (done: ScriptResult): string[] =>
  reportOf(done).copies.map(({ name, archive, result }) => `${name} ${archive} ${result}`);
export const fixity = (given: object) => ({
  fixity: { max_bytes_per_second: null, prove_every_days: 30, ...given },
});
/** Every copy is due in every run. */
export const always = { prove_every_days: 1e-9 };

/** On a busy machine a scrub of kilobytes takes longer than the second after which it tells how far it is. */
export const NOTHING_BUT_PROGRESS: unknown = expect.stringMatching(/^(\d+ .*: \d+% · .*\n)*$/);

/** An alarm that keeps what it is told. */
export function makeAlarm(
  { place }: Vault,
  then = '',
): { command: string[]; calls: () => Record<string, unknown>[] } {
  const [program, log] = [place.path('alarm.sh'), place.path('alarms')];
  writeFileSync(program, `#!/bin/sh\ncat >> "$1"\n${then}\n`);
  chmodSync(program, 0o755);
  return {
    command: [program, log],
    calls: () =>
      existsSync(log)
        ? readFileSync(log, 'utf8')
            .trimEnd()
            .split('\n')
            .map((line) => JSON.parse(line) as Record<string, unknown>)
        : [],
  };
}
