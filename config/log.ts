/** What log lines are like is no part of the configuration, because a logger is there before it; it is checked with it. */
import type { Values } from './value.ts';

const EXPECTED: Readonly<Record<string, readonly string[]>> = {
  LOG_LEVEL: ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'],
  LOG_FORMAT: ['json', 'pretty'],
};

export const logProblems = (values: Values): string[] =>
  Object.entries(EXPECTED).flatMap(([name, choices]) => {
    const given = values[name];
    if (given === undefined || given === '' || choices.includes(given)) return [];
    return [`${name}: expected one of ${choices.join(', ')}, got ${JSON.stringify(given)}`];
  });
