/** What a person at a terminal is told while the facility's API is away. */
import { expect, test } from 'vitest';
import type { RestCatalog } from '../../workers/catalog/rest/catalog.ts';
import { openStore } from '../../workers/store.ts';
import { created } from '../catalog/contract-datasets.ts';
import { makeRegistration } from '../catalog/registration.ts';
import { begin, makeWorkflow } from '../records/fixture.ts';
import { startBioloopApi } from '../support/bioloop-api.ts';
import { doctor } from '../support/doctor.ts';
import { makeFleet } from '../support/fleet.ts';
import { describeMongodb, mongoPlace } from '../support/mongodb.ts';
import { restOverrides } from '../support/rest-place.ts';
import { runScript } from '../support/script.ts';

test('longshore status tells all that is known here, at once, what waits for the API, and what it has yet to hear', async () => {
  const double = await startBioloopApi();
  const { place, store } = await makeFleet(restOverrides(double, { delay_scale: 1 }));
  const { spool, ...catalog } = store.catalog as RestCatalog;
  const { id } = created((await catalog.register([{ dataset: makeRegistration().dataset }], 'x'))[0]);
  const workflow = makeWorkflow({ dataset_id: id });
  await store.records.createWorkflow(workflow);
  const { key } = await begin(store.records, workflow);
  await store.records.progress(key, {
    waits: 'waits for the API since 06:00: GET datasets/:id: no answer',
    code: 'E_API_UNAVAILABLE',
    next_attempt_at: new Date(Date.now() + 600_000).toISOString(),
  });
  double.fail('', { kind: 'status', status: 503 });
  await spool.setHealth({ failures: 9, down_until: Date.now() + 600_000 });
  await catalog.addState(id, 'READY');
  const asked = double.called('GET datasets').length;
  const { code, stdout, stderr } = await runScript('longshore.ts', ['status', '--json'], place.env);
  const status = JSON.parse(stdout) as { problems: string[] };
  expect(code).toBe(5);
  expect(stderr).not.toContain('"level"');
  expect(double.called('GET datasets')).toHaveLength(asked + 1);
  expect(status).toMatchObject({
    datasets: null,
    untold: { changes: expect.any(Number), since: expect.any(String) },
    workflows: { STARTED: 1 },
  });
  expect(status.problems).toEqual(
    expect.arrayContaining([
      expect.stringMatching(/^E_API_UNAVAILABLE: GET datasets: .* answered 503/),
      expect.stringMatching(/^E_API_UNAVAILABLE: A workflow will go on when the API is back\. waits for/),
    ]),
  );
  const { stdout: text } = await runScript('longshore.ts', ['status'], place.env);
  expect(text).toMatch(/^datasets +-$/m);
  const byNumber = await runScript('longshore.ts', ['show', String(id)], place.env);
  expect(byNumber.code).toBe(5);
  expect(byNumber.stderr).toContain(`say id:${id}.`);
  expect(await runScript('longshore.ts', ['show', `id:${id}`], place.env)).toMatchObject({ code: 0 });
});

describeMongodb('a fleet whose spool is in MongoDB', () => {
  test('the doctor tells what waits there, and what was refused', async () => {
    const double = await startBioloopApi();
    const place = await mongoPlace(restOverrides(double));
    const store = await openStore(place.config);
    const { spool } = store.catalog as RestCatalog;
    const entry = { kind: 'state', body: {}, due_at: Date.now() + 600_000 };
    const refused = await spool.add({ ...entry, lane: 'dataset:1' });
    await spool.refused(refused, 'E_API_REQUEST: no');
    await spool.add({ ...entry, lane: 'dataset:2' });
    await store.close();
    const { of } = await doctor(place, ['--only', 'api']);
    expect(of('api.spool')?.seen).toContain('1 change');
    expect(of('api.refused')).toMatchObject({
      level: 'warning',
      seen: expect.stringContaining('E_API_REQUEST: no'),
    });
  });
});
