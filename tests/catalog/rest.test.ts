import { describe } from 'vitest';
import { openStore } from '../../workers/store.ts';
import type { OpenStore } from '../records/fixture.ts';
import { makePlace } from '../support/place.ts';
import { restOverrides, startBatteryApi } from '../support/rest-place.ts';
import { catalogBattery } from './contract.ts';

const open: OpenStore = (config) => openStore(config);
open.place = async () => makePlace(restOverrides(await startBatteryApi()));

describe('catalog behind the REST API', () => catalogBattery(open));
