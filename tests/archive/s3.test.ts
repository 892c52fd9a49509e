import { afterAll, beforeAll } from 'vitest';
import type { Config } from '../../config/index.ts';
import { openArchive } from '../../workers/archive/index.ts';
import { type HttpProxy, startHttpProxy } from '../support/http-proxy.ts';
import type { Place } from '../support/place.ts';
import { type S3Server, startS3Server } from '../support/s3.ts';
import { archiveBattery } from './battery.ts';

const MB = 1024 ** 2;
type BackEnd = Config['archive']['backends'][string];
type S3BackEnd = Extract<BackEnd, { kind: 's3' }>;

let server: S3Server;
beforeAll(async () => {
  server = await startS3Server();
});
afterAll(() => server.stop());

/** Small parts, so that a few megabytes are an upload of several. */
const backEnd = (proxy: HttpProxy, more: Partial<S3BackEnd> = {}): S3BackEnd => ({
  kind: 's3',
  bucket: server.bucket,
  endpoint: proxy.url,
  region: 'us-east-1',
  prefix: 'longshore/',
  access_key_id: server.access_key_id,
  secret_access_key: server.secret_access_key,
  storage_class: null,
  force_path_style: true,
  part_bytes: 5 * MB,
  concurrency: 3,
  stall_seconds: 30,
  ...more,
});

const withBackEnd = ({ config }: Place, s3: S3BackEnd): Config => ({
  ...config,
  archive: { ...config.archive, backends: { ...config.archive.backends, s3 } },
});

const keyOf = (place: Place, name: string): string =>
  place.config.paths.RAW_DATA.archive.replace('{year}', '2026').concat(`/${name}`);

archiveBattery('s3', async (place) => {
  const proxy = await startHttpProxy(server.url);
  const config = withBackEnd(place, backEnd(proxy));
  return {
    place,
    open: () => openArchive(config, 's3'),
    key: (name) => keyOf(place, name),
    takeAway: proxy.takeAway,
    bringBack: proxy.bringBack,
  };
});
