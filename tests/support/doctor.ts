import { expect } from 'vitest';
import type { Finding } from '../../scripts/doctor/finding.ts';
import type { Place } from './place.ts';
import { runScript } from './script.ts';

export interface Answer {
  code: number | null;
  level: string;
  findings: Finding[];
  /** Of that id (and subject). */
  readonly of: (id: string, subject?: string) => Finding | undefined;
}

/** `longshore doctor --json` in that place, as a process of its own. */
export async function doctor(
  place: Place,
  args: readonly string[],
  env: Record<string, string> = {},
): Promise<Answer> {
  const { code, stdout, stderr } = await runScript('longshore.ts', ['doctor', '--json', ...args], {
    ...place.env,
    ...env,
  });
  expect(stdout, stderr).not.toBe('');
  const { level, findings } = JSON.parse(stdout) as { level: string; findings: Finding[] };
  const of = (id: string, subject?: string) =>
    findings.find((one) => one.id === id && (subject === undefined || one.subject === subject));
  return { code, level, findings, of };
}

/** A new LONGSHORE_OVERRIDES over that of the place, for what needs the place's own folders. */
export function overrides(place: Place, more: Record<string, unknown>): Record<string, string> {
  const own = JSON.parse(place.env.LONGSHORE_OVERRIDES ?? '{}') as Record<string, unknown>;
  return { LONGSHORE_OVERRIDES: JSON.stringify({ ...own, ...more }) };
}
