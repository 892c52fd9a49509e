import { createRequire } from 'node:module';
import pino, { type Logger } from 'pino';
import type prettyStream from 'pino-pretty';
import { variable } from '../config/env.ts';
import { indented, visible } from './log-text.ts';

export type { Logger } from 'pino';

/** Keys that never reach a log line, at any of the depths that our records use. */
const SECRET_KEYS = ['password', 'token', 'auth_token', 'alias_salt', 'authorization', 'secret'];

/**
 * Structured lines on stdout; pm2 or the terminal keeps them. Commands whose stdout is their result log to stderr (2)
 * or to a file, which is always JSON. LOG_LEVEL and LOG_FORMAT (`json`, `pretty`) are no part of the configuration,
 * because a logger is needed before that can be read.
 */
export function createLogger(
  name: string,
  fields: Record<string, unknown> = {},
  { to = 1, level, json = false }: { to?: 1 | 2 | string; level?: string; json?: boolean } = {},
): Logger {
  const options: pino.LoggerOptions = {
    name,
    level: level ?? (variable('LOG_LEVEL') || 'info'),
    base: { pid: process.pid, ...fields },
    timestamp: pino.stdTimeFunctions.isoTime,
    redact: { paths: SECRET_KEYS.flatMap((key) => [key, `*.${key}`, `*.*.${key}`]), censor: '[hidden]' },
  };
  if (typeof to === 'string' || json || !wantsPretty(to))
    return pino(options, pino.destination({ dest: to, sync: true, mkdir: true }));
  // In this thread and synchronous: a transport thread loses the last lines of a process that is killed.
  // Loaded where it is wanted: it costs every process of a task 15 ms.
  const pretty = createRequire(import.meta.url)('pino-pretty') as typeof prettyStream;
  return pino(
    { ...options, hooks: { streamWrite: visible } },
    pretty({
      translateTime: 'SYS:HH:MM:ss',
      ignore: 'pid,hostname',
      messageFormat: indented,
      sync: true,
      destination: to,
    }),
  );
}

function wantsPretty(to: 1 | 2): boolean {
  const format = variable('LOG_FORMAT') || null;
  return format === null ? (to === 1 ? process.stdout : process.stderr).isTTY === true : format === 'pretty';
}
