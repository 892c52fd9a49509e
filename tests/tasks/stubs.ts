import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { vi } from 'vitest';
import type { Landing } from './landing.ts';

const bin = join(import.meta.dirname, '../fixtures/bin');

/** Configuration that names the stand-ins of external programs. */
export const stubTools = {
  fastqc: join(bin, 'fastqc'),
  multiqc: join(bin, 'multiqc'),
  bs: join(bin, 'bs'),
};

/** Where they note their arguments, and what else they are told. */
export function noteCalls(landing: Landing, env: Record<string, string> = {}): () => string[] {
  const log = landing.place.path('stub.log');
  for (const [name, value] of Object.entries({ STUB_LOG: log, ...env })) vi.stubEnv(name, value);
  return () => (existsSync(log) ? readFileSync(log, 'utf8').trim().split('\n') : []);
}
