import { describe } from 'vitest';
import { openStore } from '../../workers/store.ts';
import { recordsBattery } from './contract.ts';

describe('records in SQLite', () => recordsBattery(openStore));
