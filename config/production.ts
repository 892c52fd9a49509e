import { fromEnv } from './value.ts';

/**
 * A facility's fleet. Secrets and the Redis of the fleet are required: a missing one stops the start by name.
 * Put the site's folders here, or copy this file to `config/<site>.ts` and set APP_ENV=<site>.
 */
export const config = {
  app_id: fromEnv('LONGSHORE_APP_ID', 'longshore'),
  // The name that the reference's deployments issue their tokens under.
  gateway: { jwt: { issuer: fromEnv('GATEWAY_ISSUER', 'rhythm_api') } },
  queue: { url: fromEnv('REDIS_URL') },
  // An upgrade changes files one after the other; when the workers begin to use them is for whoever upgrades to say.
  reload: { watch: 'tasks' },
};
