import type { Config } from '../../config/index.ts';
import type { Logger } from '../log.ts';
import type { Records } from '../records/contract.ts';
import type { Engine } from '../workflows/engine.ts';

export interface PauseReply {
  paused: boolean;
  revoked_step?: { task_id: string; task: string; name: string };
}

export interface ResumeReply {
  resumed: boolean;
  restarted_step?: { name: string; task: string };
}

export interface OperationParts {
  config: Config;
  engine: Engine;
  records: Records;
  log: Logger;
  /** So long beyond what stopping a process may take: a call that has not come back waits for a Redis that went away. */
  stuck_seconds?: number | undefined;
}
