/** A place whose catalog lies behind a double of the facility's API. */
import { type BioloopApi, startBioloopApi } from './bioloop-api.ts';

/** With the project of the batteries. */
export async function startBatteryApi(): Promise<BioloopApi> {
  const double = await startBioloopApi();
  double.store.projects.set('p', { id: 'p', name: 'P' });
  return double;
}

/** Pauses of the API's client and of the spool are a thousandth of what they are. */
export const restOverrides = (
  double: Pick<BioloopApi, 'url' | 'token'>,
  more: Record<string, unknown> = {},
): Record<string, unknown> => ({
  catalog: { backend: 'rest' },
  api: { base_url: double.url, auth_token: double.token, delay_scale: 0.001, ...more },
});
