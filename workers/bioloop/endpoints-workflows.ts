/** The endpoints of workflows and of the logs of their processes. */
import type { ApiClient } from './client.ts';
import type { CallOptions } from './dataset-requests.ts';
import { countAnswer, currentWorkflows, processAnswer, workflowAnswer, workflowList } from './schemas.ts';

export interface ApiProcess {
  /** Null: of a task that stands in no workflow. Another one must be known to the API (409). */
  workflow_id?: string | null;
  step: string;
  task_id: string;
  pid: number;
  hostname: string;
  /** ISO 8601. */
  start_time: string;
  tags: { args: readonly string[] };
}

export interface ApiLogLine {
  /** ISO 8601, ending in Z. */
  timestamp: string;
  level: 'stdout' | 'stderr';
  /** Never empty: one empty message makes the server refuse the whole array. */
  message: string;
}

/** No page of the workflow server has more. */
const MOST = 1000;

export function workflowEndpoints(client: ApiClient) {
  const { request } = client;
  return {
    /**
     * Of a dataset, or all, or the one of an id: then without what does not exist, which getWorkflow answers like a
     * server that is away. Fails when the workflow server does.
     *
     * Of a dataset all that a page may have: without a limit it would be the ten newest.
     */
    listWorkflows: (
      query: {
        dataset_id?: number;
        workflow_id?: string;
        limit?: number;
        last_task_run?: boolean;
        prev_task_runs?: boolean;
      } = {},
      options: CallOptions = {},
    ) =>
      request({
        method: 'GET',
        endpoint: 'GET workflows',
        path: 'workflows',
        query: { ...(query.dataset_id === undefined ? {} : { limit: MOST }), ...query },
        answer: workflowList,
        ...options,
      }),

    /** The server names its parameter `last_task_runs` here. */
    getWorkflow: (
      id: string,
      query: { last_task_runs?: boolean; prev_task_runs?: boolean } = {},
      options: CallOptions = {},
    ) =>
      request({
        method: 'GET',
        endpoint: 'GET workflows/:id',
        path: `workflows/${encodeURIComponent(id)}`,
        query,
        answer: workflowAnswer,
        ...options,
      }),

    /** Every workflow that the API knows. Purges must not take an empty list for an answer. */
    currentWorkflows: (options: CallOptions = {}) =>
      request({
        method: 'GET',
        endpoint: 'GET workflows/current',
        path: 'workflows/current',
        answer: currentWorkflows,
        ...options,
      }),

    /** Not repeated: a second row of the same process would split its log. Whoever calls tries again with its next lines. */
    createProcess: (process: ApiProcess, options: CallOptions = {}) =>
      request({
        method: 'POST',
        endpoint: 'POST workflows/processes',
        path: 'workflows/processes',
        json: process,
        answer: processAnswer,
        once: true,
        retries: 0,
        ...options,
      }),

    /** Not repeated, as `createProcess`. */
    addLogs: (process_id: number, lines: readonly ApiLogLine[], options: CallOptions = {}) =>
      request({
        method: 'POST',
        endpoint: 'POST workflows/processes/:id/logs',
        path: `workflows/processes/${process_id}/logs`,
        json: lines,
        answer: countAnswer,
        once: true,
        retries: 0,
        ...options,
      }),
  };
}

export type WorkflowEndpoints = ReturnType<typeof workflowEndpoints>;
