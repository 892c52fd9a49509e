import { expect, onTestFinished, test } from 'vitest';
import { judgeRefused, judgeWaiting } from '../../scripts/doctor/api.ts';
import type { RestCatalog } from '../../workers/catalog/rest/catalog.ts';
import { openStore } from '../../workers/store.ts';
import { created } from '../catalog/contract-datasets.ts';
import { makeRegistration } from '../catalog/registration.ts';
import { startBioloopApi } from '../support/bioloop-api.ts';
import { doctor } from '../support/doctor.ts';
import { makePlace } from '../support/place.ts';
import { restOverrides } from '../support/rest-place.ts';

test('an API that answers is fine; one that refuses the token, or what it was told, is found', async () => {
  const double = await startBioloopApi();
  const place = await makePlace(restOverrides(double));
  const fine = await doctor(place, ['--only', 'api']);
  expect(fine.of('api.answers')).toMatchObject({ level: 'ok', seen: expect.stringContaining('0 datasets') });
  const store = await openStore(place.config);
  onTestFinished(() => store.close());
  const catalog = store.catalog as RestCatalog;
  const { id } = created((await catalog.register([{ dataset: makeRegistration().dataset }], 'x'))[0]);
  await catalog.spool.refused(
    await catalog.spool.add({ lane: `dataset:${id}`, kind: 'state', body: { id, state: 'READY' } }),
    'E_API_REQUEST: no',
  );
  double.fail('', { kind: 'status', status: 401 });
  const { code, of, findings } = await doctor(place, ['--only', 'api']);
  expect(code).toBe(1);
  expect(of('api.answers')).toMatchObject({
    level: 'problem',
    remedy: expect.stringContaining('APP_API_TOKEN'),
  });
  expect(of('api.refused')).toMatchObject({
    level: 'warning',
    seen: expect.stringContaining('E_API_REQUEST: no'),
  });
  expect(of('api.spool')?.level).toBe('ok');
  expect(JSON.stringify(findings)).not.toContain(double.token);
});

test('changes that wait for long are a warning, without the API nothing is looked at', async () => {
  expect(judgeWaiting(3, 601)).toMatchObject({
    level: 'warning',
    seen: expect.stringContaining('3 changes wait'),
  });
  expect(judgeWaiting(3, 5).level).toBe('ok');
  expect(judgeRefused([]).level).toBe('ok');
  expect((await doctor(await makePlace(), ['--only', 'host'])).of('api.answers')).toBeUndefined();
});
