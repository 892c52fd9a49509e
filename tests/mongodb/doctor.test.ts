import { MongoClient } from 'mongodb';
import { expect, inject, onTestFinished, test } from 'vitest';
import type { Config } from '../../config/index.ts';
import { catalogFindings, integrityFindings } from '../../scripts/doctor/catalog.ts';
import { recordedFindings } from '../../scripts/doctor/recorded/judge.ts';
import { DOCUMENTS_VERSION } from '../../workers/mongodb/version.ts';
import { openStore } from '../../workers/store.ts';
import { describeMongodb, mongoPlace } from '../support/mongodb.ts';

const levelsOf = async (config: Config): Promise<string[]> => {
  const found = [];
  for await (const { level, id } of catalogFindings(config)) found.push(`${id} ${level}`);
  return found;
};

describeMongodb('the doctor on a catalog in MongoDB', () => {
  test('it tells whether the server answers, whether indexes are missing, and writes once', async () => {
    const { config } = await mongoPlace();
    expect(await levelsOf(config)).toEqual([
      'catalog.mongodb ok',
      'catalog.version ok',
      'catalog.indexes warning',
      // A machine under load is a warning, and rightly so.
      expect.stringMatching(/^catalog\.round_trip (ok|warning)$/),
    ]);
    await (await openStore(config)).close();
    expect((await levelsOf(config))[2]).toBe('catalog.indexes ok');
    const client = new MongoClient(inject('mongodb'));
    onTestFinished(() => client.close());
    const doctors = client.db(config.mongodb.database ?? '').collection('longshore_doctor');
    expect(await doctors.countDocuments()).toBe(0);
    for await (const finding of integrityFindings(config)) expect(finding).toBeNull();
  });

  test('documents of a newer release are a problem, and nothing more is read of them', async () => {
    const { config } = await mongoPlace();
    await (await openStore(config)).close();
    const client = new MongoClient(inject('mongodb'));
    onTestFinished(() => client.close());
    const versions = client.db(config.mongodb.database ?? '').collection('longshore_version');
    await versions.updateOne({}, { $set: { version: DOCUMENTS_VERSION + 1 } });
    expect(await levelsOf(config)).toContain('catalog.version problem');
    for await (const finding of recordedFindings(config)) expect(finding).toBeNull();
  });

  test('a server that is not there is a problem, and waited for no longer than for one answer', async () => {
    const { config } = await mongoPlace();
    const away = { ...config, mongodb: { ...config.mongodb, url: 'mongodb://127.0.0.1:1/' } };
    expect(await levelsOf(away)).toEqual(['catalog.mongodb problem']);
  });
});
