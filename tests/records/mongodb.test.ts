import { openStore } from '../../workers/store.ts';
import { describeMongodb, isFerretdb, mongoPlace } from '../support/mongodb.ts';
import { recordsBattery } from './contract.ts';
import type { OpenStore } from './fixture.ts';

const open: OpenStore = (config) => openStore(config);
open.place = mongoPlace;
open.slow = isFerretdb();

describeMongodb('records in MongoDB', () => recordsBattery(open));
