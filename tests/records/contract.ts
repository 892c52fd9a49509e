import { describe } from 'vitest';
import { claimBattery } from './contract-claims.ts';
import { lossBattery } from './contract-losses.ts';
import { lifecycleBattery } from './contract-lifecycle.ts';
import { logBattery } from './contract-logs.ts';
import { workflowBattery } from './contract-workflows.ts';
import type { OpenStore } from './fixture.ts';

/** What every back end of the records has to pass. */
export function recordsBattery(open: OpenStore): void {
  describe('workflows', () => workflowBattery(open));
  describe('claims', () => claimBattery(open));
  describe('losses', () => lossBattery(open));
  describe('lifecycle', () => lifecycleBattery(open));
  describe('logs', () => logBattery(open));
}
