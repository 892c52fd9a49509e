import { typeFolders } from './folders.ts';
import { secretFromEnv } from './value.ts';

const root = '/opt/sca/data';

/** Containers: fixed folders, short waits. `APP_ENV=ci` uses this overlay too. */
export const config = {
  app_id: 'bioloop-dev.sca.iu.edu',
  paths: {
    scratch: `${root}/scratch`,
    RAW_DATA: typeFolders(root, 'raw_data'),
    DATA_PRODUCT: typeFolders(root, 'data_products'),
    download_dir: `${root}/downloads`,
    root,
  },
  registration: {
    RAW_DATA: { source_dir: `${root}/origin/raw_data`, rejects: ['.snapshots', '_testObservedPath_*'] },
    DATA_PRODUCT: {
      source_dir: `${root}/origin/data_products`,
      rejects: ['.snapshots', '_testObservedPath_*'],
    },
    recency_threshold_seconds: 300,
    wait_between_stability_checks_seconds: 5,
  },
  register_ondemand: {
    RAW_DATA: { source_dir: `${root}/register_ondemand/raw_data` },
    DATA_PRODUCT: { source_dir: `${root}/register_ondemand/data_products` },
  },
  logs: { register_ondemand: '/opt/sca/logs/register_ondemand' },
  stage: { alias_salt: secretFromEnv('ALIAS_SALT', 'docker-only-not-a-secret') },
};
