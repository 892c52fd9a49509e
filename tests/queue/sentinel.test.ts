/** A Redis that Sentinels watch: found through them, and found again where they put it. */
import { expect, onTestFinished, test } from 'vitest';
import type { Config } from '../../config/index.ts';
import { coerceError, type LongshoreError } from '../../workers/errors.ts';
import { createLogger } from '../../workers/log.ts';
import { connectRedis } from '../../workers/queue/connection.ts';
import { doctor } from '../support/doctor.ts';
import { makeFleet } from '../support/fleet.ts';
import { judgeSentinels } from '../../scripts/doctor/sentinels.ts';
import { makePlace } from '../support/place.ts';
import { runScript } from '../support/script.ts';
import { SENTINEL_PASSWORD, startSentinels } from '../support/sentinels.ts';
import { until } from '../support/until.ts';

const through = (
  config: Config,
  url: string,
  sentinel_password: string | null = SENTINEL_PASSWORD,
): Config => ({
  ...config,
  queue: { ...config.queue, url, sentinel_password },
});

const connect = (config: Config, wait_seconds: number) =>
  connectRedis(config, { log: createLogger('test', {}, { level: 'silent' }), wait_seconds });

const refusal = (config: Config): Promise<LongshoreError> =>
  connect(config, 2).then(
    (client) => {
      client.disconnect();
      throw new Error('it was connected');
    },
    (error: unknown) => coerceError(error),
  );

test('a connection finds the primary through any Sentinel, and the next one when the first is gone', async () => {
  const place = await makePlace();
  const watched = await startSentinels(place);
  const client = await connect(through(place.config, watched.url), 20);
  onTestFinished(() => client.disconnect());
  await client.set('key', 'value');
  expect(await client.wait(1, 5_000)).toBe(1);
  watched.kill(watched.ports.primary);
  watched.kill(watched.ports.sentinels[0] ?? 0);
  // Given while nobody is the primary: it waits for the next one.
  expect(await client.get('key')).toBe('value');
  expect(client.stream.remotePort).toBe(watched.ports.replica);
  expect(await client.set('key', 'other')).toBe('OK');
});

test.each([
  [
    'a name that they do not watch',
    (url: string) => url.replace(/\w+$/, 'another'),
    SENTINEL_PASSWORD,
    'ERR No such master with that name',
  ],
  ['their password missing', (url: string) => url, null, 'NOAUTH'],
  ['a wrong password of theirs', (url: string) => url, 'geheim', 'WRONGPASS'],
])('with %s it is said what each Sentinel answered, and no password', async (_, change, password, reason) => {
  const place = await makePlace();
  const watched = await startSentinels(place);
  const { message, hint } = await refusal(through(place.config, change(watched.url), password));
  expect(hint).toContain('QUEUE_SENTINEL_PASS');
  expect(message).toContain('no Sentinel names the primary (127.0.0.1:');
  expect(message).toContain(': takes no connection');
  for (const port of watched.ports.sentinels)
    expect(message).toMatch(new RegExp(`127\\.0\\.0\\.1:${port}: ${reason}`));
  expect(message).not.toMatch(/of-the-servers|of-the-sentinels|geheim/);
});

test('Sentinels that are not there are all named', async () => {
  const place = await makePlace();
  const config = through(place.config, 'redis+sentinel://127.0.0.1:1,127.0.0.1:2/longshore', null);
  expect((await refusal(config)).message).toContain(
    'no Sentinel names the primary (127.0.0.1:1: takes no connection; 127.0.0.1:2: takes no connection)',
  );
});

test('commands are answered although two of three Sentinels hang; when all do, it is said of each', async () => {
  const watched = await startSentinels(await makePlace());
  const { place } = await makeFleet({ queue: { url: watched.url, sentinel_password: SENTINEL_PASSWORD } });
  const [one = 0, two = 0, three = 0] = watched.ports.sentinels;
  watched.hang(one);
  watched.hang(two);
  expect(await runScript('longshore.ts', ['limits'], place.env)).toMatchObject({ code: 0 });
  watched.hang(three);
  const { code, stderr } = await runScript('longshore.ts', ['limits'], place.env);
  expect(code).toBe(5);
  for (const port of [one, two, three]) expect(stderr).toContain(`127.0.0.1:${port}: Command timed out`);
});

test('of TLS it is said that a certificate may not be trusted', async () => {
  const place = await makePlace();
  const config = through(place.config, 'rediss+sentinel://127.0.0.1:1/longshore', null);
  expect((await refusal(config)).message).toContain(
    '(127.0.0.1:1: takes no connection, or its certificate is not trusted here)',
  );
});

const WORKFLOWS = 12;

test('workflows go on after the primary is gone, and each step runs once', async () => {
  const watched = await startSentinels(await makePlace());
  const fleet = await makeFleet({ queue: { url: watched.url, sentinel_password: SENTINEL_PASSWORD } });
  await fleet.worker();
  await fleet.worker();
  const ids = await Promise.all(
    Array.from({ length: WORKFLOWS }, () => fleet.start({ one: { takes_ms: 300 }, two: {}, three: {} })),
  );
  await until(() => fleet.events('start', 'two').length > 0, { what: 'the fleet to be in the middle of it' });
  watched.kill(watched.ports.primary);
  for (const id of ids) await fleet.reaches(id, 'SUCCESS');
  const runs = fleet.events('start').map(({ task_id }) => task_id);
  expect(runs).toHaveLength(WORKFLOWS * 3);
  expect(new Set(runs).size).toBe(WORKFLOWS * 3);
  // What the new one does not know of is no fault that a person has to look into.
  for (const worker of [0, 1]) expect(fleet.workerLog(worker)).not.toContain('"level":50');
  // Started on the new one.
  await fleet.reaches(await fleet.start({ one: {} }), 'SUCCESS');
});

test('a Sentinel without which none is left is more than a warning', () => {
  const answer = { place: 'h:1', said: '' };
  const [up, down] = [
    { ...answer, state: 'agrees' },
    { ...answer, state: 'away' },
  ] as const;
  expect(judgeSentinels([down]).level).toBe('problem');
  expect(judgeSentinels([up, down]).level).toBe('warning');
});

test('the doctor asks each Sentinel by itself: one that is away is a warning, no quorum a problem', async () => {
  const place = await makePlace();
  const watched = await startSentinels(place);
  const env = { REDIS_URL: watched.url, QUEUE_SENTINEL_PASS: SENTINEL_PASSWORD };
  const { of } = await doctor(place, ['--only', 'redis'], env);
  expect(of('redis.role')).toMatchObject({ level: 'ok', seen: 'primary, 1 replica' });
  expect(of('redis.sentinels')).toMatchObject({
    level: 'warning',
    seen: expect.stringMatching(/^127\.0\.0\.1:\d+: connect ECONNREFUSED/),
  });
  const [, one = 0, another = 0] = watched.ports.sentinels;
  watched.kill(one);
  watched.kill(another);
  // The one that is left counts them as there until their time has run out.
  const told = await until(
    async () => {
      const seen = (await doctor(place, ['--only', 'redis'], env)).of('redis.sentinels');
      return seen?.level === 'problem' ? seen : null;
    },
    { what: 'the quorum to be missed' },
  );
  expect(told.seen).toContain('NOQUORUM');
  expect(told.seen).not.toContain('of-the-');
});
