/**
 * The defaults of the reference that sites rely on, and the few in which Longshore differs on purpose. A default that
 * is changed by mistake changes what a fleet does without a line of its configuration having changed.
 */
import { describe, expect, test } from 'vitest';
import type { Config } from '../../config/index.ts';
import { load } from './support.ts';

type Defaults = Readonly<Record<string, unknown>>;

const at = (config: Config, key: string): unknown =>
  key.split('.').reduce((inner: unknown, name) => (inner as Record<string, unknown>)[name], config);

/** Loaded once for each environment; what a fleet must name is named. */
const required = { ALIAS_SALT: 'salt', REDIS_URL: 'redis://host', LONGSHORE_HOME: '/home' };
const loaded = {
  production: (await load({ ...required, APP_ENV: 'production' })).config,
  docker: (await load({ ...required, APP_ENV: 'docker' })).config,
  local: (await load({ ...required, APP_ENV: 'local' })).config,
};

const HOUR = 3600;
const DAY = 24 * HOUR;
const step = (name: string, task: string, kwargs?: object) => ({ name, task, ...(kwargs && { kwargs }) });
const published = [
  step('stage', 'stage_dataset'),
  step('validate', 'validate_dataset'),
  step('setup_download', 'setup_dataset_download'),
];

/** Of every environment that does not say otherwise below. */
const COMMON: Defaults = {
  genome_file_types: [
    '.cbcl',
    '.bcl',
    '.bcl.gz',
    '.bgzf',
    '.fastq.gz',
    '.bam',
    '.bam.bai',
    '.vcf.gz',
    '.vcf.gz.tbi',
    '.vcf',
  ],
  dataset_types: ['RAW_DATA', 'DATA_PRODUCT'],
  'api.conn_timeout': 5,
  'api.read_timeout': 30,
  'api.delay_scale': 1,
  'registration.poll_interval_seconds': 10,
  'registration.full_scan_every_n_scans': 90,
  'registration.batch_size': 100,
  'registration.workflow': 'integrated',
  // The reference names 1 GiB and never reads it; here it would be obeyed.
  'registration.minimum_dataset_size': 0,
  'stage.purge.days_to_live': 20,
  'stage.purge.max_purges': 10,
  'email.sendmail_path': '/usr/sbin/sendmail',
  'workflow.purge': {
    types: ['integrated', 'stage', 'delete'],
    age_threshold_seconds: DAY,
    max_purge_count: 10,
  },
  'inspect.file_metadata_batch_size': 25_000,
  'enabled_features.notifications': false,
  // Absent in the reference, whose task fails for it.
  'illumina.download.datasets.n_days': 7,
  // Of the queue and its workers.
  'workers.worker.queues': ['{app_id}.q'],
  'workflow.retry': { max: 3, delay_seconds: 5, tasks: {} },
  'task.attempts_per_process': 1,
  'task.time_limit_seconds': 86_400,
  'task.soft_time_limit_seconds': 85_800,
  'autoscale.min': 2,
  'autoscale.max': 8,
  'instances.min': 1,
  // Of tasks and uploads.
  'qc.batch_size': 8,
  'uploads.stale_uploading_hours': 6,
  'uploads.verification_timeout_hours': 4,
  // Of the workflow server.
  'gateway.port': 5001,
  'gateway.root_path': '/rhythm',
  'workflow_registry.integrated.steps': [
    step('await stability', 'await_stability'),
    step('inspect', 'inspect_dataset', { digests: false }),
    step('archive', 'archive_dataset'),
    ...published,
  ],
  'workflow_registry.stage.steps': published,
  'workflow_registry.delete.steps': [step('delete', 'delete_dataset')],
};

const folders = (name: string): Defaults => ({
  upload: `/opt/sca/data/uploads/${name}`,
  archive: `/opt/sca/data/archive/{year}/${name}`,
  stage: `/opt/sca/data/staged/${name}`,
  bundle: {
    generate: `/opt/sca/data/bundle/${name}/generation`,
    stage: `/opt/sca/data/bundle/${name}/staging`,
  },
  qc: `/opt/sca/data/qc/${name}`,
});

const OF: Readonly<Record<keyof typeof loaded, Defaults>> = {
  production: {
    'registration.recency_threshold_seconds': HOUR,
    'registration.wait_between_stability_checks_seconds': 300,
    'registration.RAW_DATA.rejects': ['.snapshots'],
    'registration.DATA_PRODUCT.rejects': ['.snapshots'],
    'gateway.jwt.issuer': 'rhythm_api',
    'workflow_registry.integrated.then': undefined,
  },
  docker: {
    app_id: 'bioloop-dev.sca.iu.edu',
    'paths.scratch': '/opt/sca/data/scratch',
    'paths.download_dir': '/opt/sca/data/downloads',
    'paths.root': '/opt/sca/data',
    'paths.RAW_DATA': folders('raw_data'),
    'paths.DATA_PRODUCT': folders('data_products'),
    'registration.recency_threshold_seconds': 300,
    'registration.wait_between_stability_checks_seconds': 5,
    'registration.RAW_DATA': {
      source_dir: '/opt/sca/data/origin/raw_data',
      rejects: ['.snapshots', '_testObservedPath_*'],
    },
    'registration.DATA_PRODUCT': {
      source_dir: '/opt/sca/data/origin/data_products',
      rejects: ['.snapshots', '_testObservedPath_*'],
    },
    'register_ondemand.RAW_DATA.source_dir': '/opt/sca/data/register_ondemand/raw_data',
    'register_ondemand.DATA_PRODUCT.source_dir': '/opt/sca/data/register_ondemand/data_products',
    'logs.register_ondemand': '/opt/sca/logs/register_ondemand',
    'gateway.jwt.issuer': 'localhost',
    'workflow_registry.integrated.then': undefined,
  },
  local: {
    'registration.recency_threshold_seconds': 30,
    'registration.wait_between_stability_checks_seconds': 5,
    'registration.poll_interval_seconds': 2,
    'gateway.jwt.issuer': 'localhost',
    // The reference's `integrated` ends with the links; what one machine shows by itself includes QC.
    'workflow_registry.integrated.then': ['qc'],
  },
};

describe.each(Object.entries(loaded))('%s', (name, config) => {
  const defaults = { ...COMMON, ...OF[name as keyof typeof loaded] };
  test.each(Object.entries(defaults))('%s', (key, expected) => {
    expect(at(config, key)).toEqual(expected);
  });
});

test('the process table of the reference, for an installation with uploads', async () => {
  const { config } = await load({
    ...required,
    APP_ENV: 'production',
    API_BASE_URL: 'https://host/api/',
    APP_API_TOKEN: 'token',
    LONGSHORE_OVERRIDES: JSON.stringify({ catalog: { backend: 'rest' } }),
  });
  const lines = config.schedules.map(({ script, args, cron }) => [cron, script, ...args].join(' '));
  expect(lines).toEqual(
    expect.arrayContaining([
      '0 21 * * * metrics',
      '0 7 * * * purge_staged_datasets',
      '0 7 * * * purge_stale_workflows',
      '* * * * * manage_upload_workflows --max-retries=3',
      '15 7 * * * purge_stale_uploaded --ttl-days=14 --stale-uploading-days=14',
    ]),
  );
});
