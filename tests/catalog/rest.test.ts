import { describe } from 'vitest';
import type { Config } from '../../config/index.ts';
import { openStore } from '../../workers/store.ts';
import type { OpenStore } from '../records/fixture.ts';
import { startBioloopApi } from '../support/bioloop-api.ts';
import { restOverrides } from '../support/rest-place.ts';
import { catalogBattery } from './contract.ts';

const open: OpenStore = Object.assign((config: Config) => openStore(config), {
  overrides: async () => restOverrides(await startBioloopApi()),
});

describe('catalog behind the REST API', () => catalogBattery(open));
