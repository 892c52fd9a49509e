/** The whole API, one function for each endpoint. */
import type { Config } from '../../config/index.ts';
import { type ApiClient, apiClientOf, type ClientOptions } from './client.ts';
import { type DatasetEndpoints, datasetEndpoints } from './endpoints-datasets.ts';
import { type FacilityEndpoints, facilityEndpoints } from './endpoints-facility.ts';
import { type FileRowEndpoints, fileRowEndpoints } from './file-rows.ts';
import { type UploadEndpoints, uploadEndpoints } from './endpoints-uploads.ts';
import { type WorkflowEndpoints, workflowEndpoints } from './endpoints-workflows.ts';

export type BioloopApi = DatasetEndpoints &
  UploadEndpoints &
  WorkflowEndpoints &
  FileRowEndpoints &
  FacilityEndpoints & { close(): void };

export const bioloopApi = (client: ApiClient): BioloopApi => ({
  ...datasetEndpoints(client),
  ...uploadEndpoints(client),
  ...workflowEndpoints(client),
  ...facilityEndpoints(client),
  ...fileRowEndpoints(client),
  close: () => client.close(),
});

/** @throws E_CONFIG that names API_BASE_URL or APP_API_TOKEN where it is missing */
export const openApi = (config: Config, options: Partial<ClientOptions> = {}): BioloopApi =>
  bioloopApi(apiClientOf(config, options));
