import type { StatusGroup, WorkflowStatus } from './types.ts';

const GROUPS: Readonly<Record<StatusGroup, readonly WorkflowStatus[]>> = {
  DONE: ['SUCCESS', 'FAILURE', 'REVOKED'],
  ACTIVE: ['PENDING', 'STARTED'],
  EXCEPTION: ['FAILURE', 'REVOKED'],
};

export const statusesOf = (status: WorkflowStatus | StatusGroup): readonly WorkflowStatus[] =>
  Object.hasOwn(GROUPS, status) ? GROUPS[status as StatusGroup] : [status as WorkflowStatus];
