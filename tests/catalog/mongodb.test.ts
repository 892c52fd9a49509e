import { openStore } from '../../workers/store.ts';
import { describeMongodb, isFerretdb, mongoPlace } from '../support/mongodb.ts';
import { catalogBattery } from './contract.ts';
import type { OpenStore } from '../records/fixture.ts';

const open: OpenStore = (config) => openStore(config);
open.place = mongoPlace;
open.slow = isFerretdb();

describeMongodb('catalog in MongoDB', () => catalogBattery(open));
