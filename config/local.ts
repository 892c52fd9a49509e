import { fromEnv, secretFromEnv } from './value.ts';

/** One machine, no configuration: own Redis, SQLite, a filesystem archive, all below `var/`. */
export const config = {
  stage: { alias_salt: secretFromEnv('ALIAS_SALT', 'local-only-not-a-secret') },
  registration: {
    recency_threshold_seconds: 30,
    wait_between_stability_checks_seconds: 5,
    poll_interval_seconds: 2,
    RAW_DATA: { rejects: ['.snapshots', '.*'] },
    DATA_PRODUCT: { rejects: ['.snapshots', '.*'] },
  },
  workflow_registry: { integrated: { then: ['qc'] } },
  service_user: fromEnv('USER', 'longshore'),
};
