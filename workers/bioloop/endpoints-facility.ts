/** The endpoints of metrics, notifications and projects. */
import { LongshoreError } from '../errors.ts';
import type { ApiClient } from './client.ts';
import { exactNumber } from '../dataset/byte-size.ts';
import type { CallOptions } from './dataset-requests.ts';
import { type ApiProject, projectAnswer, projectList } from './schemas.ts';

export interface ApiMetric {
  measurement: string;
  subject: string;
  usage: bigint | number;
  limit: bigint | number | null;
  tags: readonly unknown[];
}

export interface ApiNotification {
  label: string;
  text: string;
  type: string;
  metadata?: Readonly<Record<string, unknown>>;
  /** At least one recipient of either kind, or the server refuses it. */
  role_ids?: readonly number[];
  user_ids?: readonly number[];
}

export function facilityEndpoints(client: ApiClient) {
  const { request } = client;
  return {
    /** For the role admin. The API cannot be asked whether it has them: after a dropped connection they are not sent again. */
    createMetrics: (metrics: readonly ApiMetric[], options: CallOptions = {}): Promise<unknown> =>
      request<unknown>({
        method: 'POST',
        endpoint: 'POST metrics',
        path: 'metrics',
        json: metrics.map((metric) => ({
          ...metric,
          usage: exactNumber(metric.usage),
          limit: metric.limit === null ? null : exactNumber(metric.limit),
        })),
        answer: null,
        once: true,
        ...options,
      }),

    /**
     * As metrics, sent once. The API takes text, type and metadata for optional and answers 500 without one of them.
     *
     * @throws E_VALUE nobody would receive it
     */
    createNotification: (notification: ApiNotification, options: CallOptions = {}): Promise<unknown> => {
      const recipients = [...(notification.role_ids ?? []), ...(notification.user_ids ?? [])];
      if (recipients.length === 0)
        throw new LongshoreError('E_VALUE', 'a notification without role_ids and user_ids reaches nobody');
      return request<unknown>({
        method: 'POST',
        endpoint: 'POST notifications',
        path: 'notifications',
        json: { metadata: {}, ...notification },
        answer: null,
        once: true,
        ...options,
      });
    },

    /** The first 25. */
    listProjects: async (options: CallOptions = {}): Promise<ApiProject[]> => {
      const { projects } = await request({
        method: 'GET',
        endpoint: 'GET projects/all',
        path: 'projects/all',
        answer: projectList,
        ...options,
      });
      return projects;
    },

    /** `include_datasets` is true by the server's default. @throws E_API_NOT_FOUND */
    getProject: (
      id: string,
      query: { include_datasets?: boolean } = {},
      options: CallOptions = {},
    ): Promise<ApiProject> =>
      request({
        method: 'GET',
        endpoint: 'GET projects/:id',
        path: `projects/${encodeURIComponent(id)}`,
        query,
        answer: projectAnswer,
        ...options,
      }),
  };
}

export type FacilityEndpoints = ReturnType<typeof facilityEndpoints>;
