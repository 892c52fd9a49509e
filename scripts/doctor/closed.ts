/** Files that tell secrets: tokens and passwords, keys, and names of staged copies that nobody is to guess. */
import { statSync } from 'node:fs';
import { readEnvironment } from '../../config/env.ts';
import type { Config } from '../../config/index.ts';
import { embeddedFolder } from '../../workers/queue/embedded.ts';
import { type Finding, finding } from './finding.ts';

interface Secret {
  readonly subject: string;
  readonly path: string | null;
  /** Rights that nobody may have on it. */
  readonly rights: number;
}

const OTHERS = 0o007;
const ALL_BUT_OWNER = 0o077;

export function* closedFindings(config: Config): Generator<Finding> {
  const { gateway, catalog } = config;
  const secrets: Secret[] = [
    { subject: '.env', path: readEnvironment().file, rights: OTHERS },
    { subject: 'catalog.path', path: catalog.path, rights: OTHERS },
    { subject: 'redis', path: embeddedFolder(config), rights: OTHERS },
    { subject: 'gateway.jwt.private_key_file', path: gateway.jwt.private_key_file, rights: ALL_BUT_OWNER },
  ];
  for (const secret of secrets) {
    const mode = modeOf(secret.path);
    if (mode !== null) yield judgeClosed(secret, mode);
  }
}

export function judgeClosed({ subject, path, rights }: Secret, mode: number): Finding {
  const open = (mode & rights) !== 0;
  return finding(open ? 'warning' : 'ok', 'host.closed', {
    subject,
    seen: `${path} has mode ${mode.toString(8).padStart(4, '0')}`,
    expected: rights === OTHERS ? 'no rights for others' : 'rights for its owner alone',
    remedy: `It tells what other users of this host may not know: chmod ${rights === OTHERS ? 'o=' : 'go='} ${path}`,
  });
}

/** Null: there is none, or it cannot be looked at, which others tell. */
function modeOf(path: string | null): number | null {
  try {
    return path === null ? null : statSync(path).mode & 0o777;
  } catch {
    return null;
  }
}
