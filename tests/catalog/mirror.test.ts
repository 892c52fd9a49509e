import { describe } from 'vitest';
import { openMongodbCompany } from '../../workers/store-mongodb.ts';
import { openSqliteCompany } from '../../workers/store-sqlite.ts';
import { describeMongodb, mongoPlace } from '../support/mongodb.ts';
import { makePlace } from '../support/place.ts';
import { mirrorBattery } from './contract-mirror.ts';

describe('the companion of a REST catalog in SQLite', () =>
  mirrorBattery(async () => openSqliteCompany((await makePlace()).config)));

describeMongodb('the companion of a REST catalog in MongoDB', () =>
  mirrorBattery(async () => openMongodbCompany((await mongoPlace()).config, {})),
);
