import { createRequire } from 'node:module';
import pino, { type Logger } from 'pino';
import type Pretty from 'pino-pretty';
import { variable } from '../config/env.ts';
import { coerceError } from './errors.ts';
import { lastingFile } from './log-file.ts';
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
  let logger: Logger | null = null;
  const destination = lastingFile(to, {
    onFailure: (error) => {
      if (to === 2) return; // There is nobody else to tell.
      const path = typeof to === 'string' ? { path: to } : {};
      const { code, message, hint } = coerceError(Object.assign(error, path));
      createLogger(name, fields, { to: 2, level: 'error' }).error(
        { code, hint, reason: message },
        'the log cannot be written; the work goes on without it',
      );
    },
    onLost: (lines) => logger?.warn({ lines }, 'the log is written again; lines in between are lost'),
  });
  if (typeof to === 'string' || json || !wantsPretty(to)) {
    logger = pino(options, destination);
    return logger;
  }
  // In this thread and synchronous: a transport thread loses the last lines of a process that is killed.
  // Loaded where it is wanted: it costs every process of a task 15 ms.
  const { prettyFactory } = createRequire(import.meta.url)('pino-pretty') as typeof Pretty;
  const pretty = prettyFactory({
    translateTime: 'SYS:HH:MM:ss',
    ignore: 'pid,hostname',
    messageFormat: indented,
  });
  logger = pino(
    { ...options, hooks: { streamWrite: visible } },
    { write: (line: string) => destination.write(pretty(line)) },
  );
  return logger;
}

function wantsPretty(to: 1 | 2): boolean {
  const format = variable('LOG_FORMAT') || null;
  return format === null ? (to === 1 ? process.stdout : process.stderr).isTTY === true : format === 'pretty';
}
