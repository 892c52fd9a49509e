/** The contract of the API as it is recorded, and how something is held to it. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';

interface Recorded {
  query?: z.core.JSONSchema.BaseSchema;
  request?: z.core.JSONSchema.BaseSchema;
  answer: z.core.JSONSchema.BaseSchema;
}

const folder = join(import.meta.dirname, 'schemas');
const read = (file: string): unknown => JSON.parse(readFileSync(join(folder, file), 'utf8'));
export const contract = new Map(
  readdirSync(folder)
    .filter((file) => file !== 'errors.json')
    .flatMap((file) => Object.entries(read(file) as Record<string, Recorded>)),
);
export const refusals = read('errors.json') as Record<string, z.core.JSONSchema.BaseSchema>;

export const problemsOf = (what: string, schema: z.core.JSONSchema.BaseSchema, value: unknown): string[] => {
  const checked = z.fromJSONSchema(schema).safeParse(value);
  return checked.success ? [] : [`${what}: ${z.prettifyError(checked.error)}`];
};

/** Everything that a landing changes of a dataset. */
export const CHANGES = {
  size: 7n,
  num_files: 1,
  archive_path: '/a',
  staged_path: null,
  metadata: { report_id: 'r' },
  bundle: { name: 'one.tar', size: 7n, md5: 'ab'.repeat(16) },
};
