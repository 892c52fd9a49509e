/** Something on the way that answers every request well and is no S3 server: the page of a login, or of works. */
import { writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { proveCopy } from '../../workers/archive/proof.ts';
import { createS3Archive } from '../../workers/archive/s3/s3.ts';
import { makePlace } from '../support/place.ts';
import { PART } from '../support/s3.ts';

const PAGE = '<html><body>log in</body></html>';

test('a page in the place of the server is an outage: nothing is found, deleted, or called damaged', async () => {
  const place = await makePlace();
  const server = createServer((request, response) => {
    request.resume();
    response.writeHead(200, { 'content-type': 'text/html', 'content-length': PAGE.length });
    response.end(request.method === 'HEAD' ? '' : PAGE);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => void server.close());
  const archive = createS3Archive({
    name: 's3',
    state_dir: place.path('state'),
    bucket: 'bundles',
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    region: 'us-east-1',
    prefix: '',
    credentials: { accessKeyId: 'id', secretAccessKey: 'secret' },
    storage_class: null,
    force_path_style: true,
    part_bytes: PART,
    concurrency: 2,
    stall_seconds: 5,
  });
  const file = place.path('file');
  writeFileSync(file, 'bytes');
  const read = async (): Promise<void> => {
    for await (const _ of archive.read('/run.tar', {}));
  };
  const list = async (): Promise<void> => {
    for await (const _ of archive.list('/'));
  };
  const calls = {
    stat: () => archive.stat('/run.tar'),
    put: () => archive.put('/run.tar', { file }, { task_id: 'task-0001' }),
    get: () => archive.get('/run.tar', place.path('back'), {}),
    delete: () => archive.delete('/run.tar'),
    read,
    list,
  };
  for (const [what, call] of Object.entries(calls))
    await expect(call(), what).rejects.toMatchObject({
      code: 'E_ARCHIVE_UNAVAILABLE',
      class: 'retryable',
      message: expect.stringContaining('is no S3 server'),
    });
  const copy = { key: '/run.tar', size: PAGE.length, digests: { md5: '0'.repeat(32) } };
  const proof = { dataset_id: 1, archive, copy, actor: 'scrub', scratch: place.path('scratch') };
  for (const level of ['size', 'digest', 'stream'] as const)
    expect(await proveCopy({ ...proof, level })).toMatchObject({ result: 'unavailable' });
});
