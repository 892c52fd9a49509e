import { describe } from 'vitest';
import { openStore } from '../../workers/store.ts';
import { catalogBattery } from './contract.ts';

describe('catalog in SQLite', () => catalogBattery(openStore));
