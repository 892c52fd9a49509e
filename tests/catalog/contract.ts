import { describe } from 'vitest';
import type { OpenStore } from '../records/fixture.ts';
import { copyBattery } from './contract-copies.ts';
import { datasetBattery, registrationBattery } from './contract-datasets.ts';
import { fileBattery } from './contract-files.ts';

/** What every back end of the catalog has to pass. */
export function catalogBattery(open: OpenStore): void {
  describe('registration', () => registrationBattery(open));
  describe('datasets', () => datasetBattery(open));
  describe('files', () => fileBattery(open));
  describe('copies and proofs', () => copyBattery(open));
}
