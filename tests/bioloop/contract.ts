/** The contract of the API as it is recorded, and how something is held to it. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import type { BioloopApi } from '../../workers/bioloop/endpoints.ts';

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

/** Everything that is told of a dataset from its registration on. Answers the workflow that was started. */
export async function changeEverything(api: BioloopApi, id: number, derived_id: number): Promise<string> {
  await api.patchDataset(id, {
    size: 7n,
    num_files: 1,
    archive_path: '/a',
    staged_path: null,
    metadata: { report_id: 'r' },
    bundle: { name: 'one.tar', size: 7n, md5: 'ab'.repeat(16) },
  });
  await api.addFiles(id, [{ path: 'd/a', md5: null, size: 7, type: 'file' }]);
  await api.addState(id, 'READY', { by: 'test' });
  await api.linkWorkflow(id, crypto.randomUUID());
  const { workflow_id } = await api.startWorkflow(id, 'integrated');
  await api.putReport(id, 'multiqc_report.html', new Blob(['<h1>QC</h1>']));
  await api.associate([{ source_id: id, derived_id }]);
  return workflow_id;
}
