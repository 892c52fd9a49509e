import { count, oneLine } from './format.ts';

const SHOWN = 20;

/**
 * What a failure names one by one: `fields.problems`, as `[path, reason]` or as text; '' when it names nothing more than
 * its message does. `--json` has all.
 */
export function problemLines(fields: Readonly<Record<string, unknown>> | undefined): string {
  const problems: unknown[] = Array.isArray(fields?.problems) ? fields.problems : [];
  if (problems.length < 2) return '';
  const total = Math.max(problems.length, typeof fields?.total === 'number' ? fields.total : 0);
  const lines = problems.slice(0, SHOWN).map((problem) => `  ${lineOf(problem)}\n`);
  const more = total - lines.length;
  return `${lines.join('')}${more > 0 ? `  and ${count(more)} more\n` : ''}`;
}

function lineOf(problem: unknown): string {
  if (!Array.isArray(problem))
    return oneLine(typeof problem === 'string' ? problem : JSON.stringify(problem));
  const [path, ...reasons] = problem.map(String);
  return oneLine(`"${path}": ${reasons.join(' ')}`);
}
