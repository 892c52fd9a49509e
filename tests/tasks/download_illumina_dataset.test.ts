import { readdirSync } from 'node:fs';
import { afterEach, expect, test, vi } from 'vitest';
import { makeLanding } from './landing.ts';
import { noteCalls, stubTools } from './stubs.ts';

afterEach(() => vi.unstubAllEnvs());

const config = { tools: stubTools, illumina: { download: { datasets: { n_days: 3 } } } };

test('bs lists the last n days and downloads each dataset into scratch; origin and state are recorded', async () => {
  const landing = await makeLanding({}, { config });
  const calls = noteCalls(landing);
  await landing.run('download_illumina_dataset');
  const target = landing.place.path('data/scratch/run_A');
  expect(calls()).toEqual([
    'list datasets -f json --newer-than=3d',
    `download dataset --id ds.1 -o ${target}`,
    `download dataset --id ds.2 -o ${target}`,
  ]);
  expect(readdirSync(target)).toEqual(['ds.1.fastq', 'ds.2.fastq']);
  expect((await landing.dataset()).origin_path).toBe(target);
  expect((await landing.states()).at(-1)).toBe('DOWNLOADED');
  expect(landing.progress.at(-1)).toEqual({ name: 'datasets', done: 2, total: 2 });
});

test('the number of days can be given at the start, and nonsense is named', async () => {
  const landing = await makeLanding({}, { config });
  const calls = noteCalls(landing);
  await landing.run('download_illumina_dataset', { kwargs: { n_days: 30 } });
  expect(calls()[0]).toBe('list datasets -f json --newer-than=30d');
  expect(await landing.fails('download_illumina_dataset', { kwargs: { n_days: 'many' } })).toMatchObject({
    code: 'E_USAGE',
    message: expect.stringContaining('n_days'),
  });
});

test.each(['not json', '{"Id":"x"}', '[{"Name":"no id"}]', '[{"Id":"-o"}]'])(
  'the listing %s downloads nothing',
  async (listing) => {
    const landing = await makeLanding({}, { config });
    const calls = noteCalls(landing, { STUB_LISTING: listing });
    expect(await landing.fails('download_illumina_dataset')).toMatchObject({ code: 'E_SUBPROCESS' });
    expect(calls()).toHaveLength(1);
    expect((await landing.dataset()).origin_path).toBe(landing.origin);
  },
);
