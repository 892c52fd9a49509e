/** A dataset of one byte more than a number can count to: 2^53 + 1. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { type BioloopApi, startBioloopApi } from '../support/bioloop-api.ts';
import { restOverrides } from '../support/rest-place.ts';
import { runScript } from '../support/script.ts';
import { type Landing, makeLanding } from './landing.ts';

const SIZE = 2n ** 53n + 1n;
const NO_PLACE = 'NOT TESTED: no file system here has room for a sparse file of 2^53 + 1 bytes';

/** Null: there is no tmpfs here; other file systems end at 8 or 16 TiB a file. */
function hugeFolder(): string | null {
  if (!existsSync('/dev/shm')) return null;
  const folder = mkdtempSync('/dev/shm/longshore-');
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const made = spawnSync('truncate', ['-s', String(SIZE), join(folder, 'huge.bin')]);
  return made.status === 0 ? folder : null;
}

async function inspected(origin: string, config: Record<string, unknown> = {}): Promise<Landing> {
  const landing = await makeLanding({}, { origin, config });
  await landing.run('inspect_dataset', { kwargs: { digests: false } });
  const dataset = await landing.dataset();
  expect(dataset.size).toBe(SIZE);
  expect(dataset.du_size).toBeGreaterThanOrEqual(SIZE);
  return landing;
}

/** `datasets` and `show` tell it, to people and to programs. */
async function expectShown({ place, id }: Landing): Promise<void> {
  for (const args of [['datasets'], ['show', String(id)]]) {
    const told = await runScript('longshore.ts', args, place.env);
    expect(told).toMatchObject({ code: 0, stdout: expect.stringContaining('8.0 PiB') });
    const json = await runScript('longshore.ts', [...args, '--json'], place.env);
    expect(json).toMatchObject({ code: 0, stdout: expect.stringContaining(`"size": ${SIZE},`) });
  }
}

test('2^53 + 1 bytes are inspected, recorded and shown to the byte', async ({ skip }) => {
  const origin = hugeFolder();
  if (origin === null) return skip(NO_PLACE);
  const landing = await inspected(origin);
  await expectShown(landing);
  // A bundle could not tell the file from one that is a byte shorter: it is not made.
  expect(await landing.fails('archive_dataset')).toMatchObject({
    code: 'E_INSPECTION',
    fields: { problems: [['huge.bin', 'is larger than 2^53 - 1 bytes']] },
  });
  // Nor are months spent on digests.
  expect(await landing.fails('inspect_dataset', { kwargs: { digests: true } })).toMatchObject({
    code: 'E_INSPECTION',
    fields: { problems: [['huge.bin', 'is larger than 2^53 - 1 bytes']] },
  });
});

test('the API gets 2^53 + 1 bytes to the byte, also from the spool', async ({ skip }) => {
  const origin = hugeFolder();
  if (origin === null) return skip(NO_PLACE);
  const double: BioloopApi = await startBioloopApi();
  const landing = await inspected(origin, restOverrides(double));
  expect(double.store.dataset(landing.id)).toMatchObject({ size: SIZE });
  expect(double.called('PATCH datasets/:id').at(-1)?.body).toMatchObject({ size: String(SIZE) });
  await expectShown(landing);

  double.store.dataset(landing.id).size = 0n;
  double.fail('', { kind: 'status', status: 503 });
  await landing.run('inspect_dataset', { attempt: 2, kwargs: { digests: false } });
  expect((await landing.dataset()).size).toBe(SIZE);
  double.heal();
  await expect.poll(() => double.store.dataset(landing.id).size).toBe(SIZE);
});
