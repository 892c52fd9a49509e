import { availableParallelism } from 'node:os';
import { typeFolders } from './folders.ts';
import { MongoUrl } from './mongodb.ts';
import { fromEnv, secretFromEnv } from './value.ts';

/**
 * `{home}` is LONGSHORE_HOME, or `var/` of this checkout: everything an unconfigured fleet writes lands below it.
 * `{year}` is left in archive paths until they are used, so that a process started last year files correctly.
 */
const data = '{home}/data';

/**
 * The defaults of every environment. An overlay (`config/<APP_ENV>.ts`) names only what differs: objects merge,
 * arrays and scalars are replaced whole.
 */
export const config = {
  app_id: 'longshore',
  state_dir: '{home}',
  dataset_types: ['RAW_DATA', 'DATA_PRODUCT'],
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
  api: {
    base_url: fromEnv('API_BASE_URL', null),
    auth_token: secretFromEnv('APP_API_TOKEN', null),
    conn_timeout: 5,
    read_timeout: 30,
    delay_scale: 1,
    patience_seconds: 3 * 3600,
  },
  paths: {
    scratch: `${data}/scratch`,
    RAW_DATA: typeFolders(data, 'raw_data'),
    DATA_PRODUCT: typeFolders(data, 'data_products'),
    download_dir: `${data}/downloads`,
    root: data,
  },
  registration: {
    RAW_DATA: { source_dir: `${data}/source/raw_data`, rejects: ['.snapshots'] },
    DATA_PRODUCT: { source_dir: `${data}/source/data_products`, rejects: ['.snapshots'] },
    recency_threshold_seconds: 3600,
    // The reference names 1 GiB here and never reads it; here it is obeyed, so that it must be asked for.
    minimum_dataset_size: 0,
    wait_between_stability_checks_seconds: 300,
    poll_interval_seconds: 10,
    full_scan_every_n_scans: 90,
    batch_size: 100,
    workflow: 'integrated',
  },
  register_ondemand: {
    RAW_DATA: { source_dir: `${data}/register_ondemand/raw_data` },
    DATA_PRODUCT: { source_dir: `${data}/register_ondemand/data_products` },
  },
  logs: { register_ondemand: '{home}/log/register_ondemand', max_bytes: 64 * 1024 ** 2, keep: 4 },
  service_user: 'longshore',
  stage: {
    purge: {
      days_to_live: 20,
      max_purges: 10,
      types: {} as Record<string, { days_to_live: number }>,
      pressure: null,
    },
    alias_salt: secretFromEnv('ALIAS_SALT'),
    keep_bundle: true,
    reserve_bytes: 64 * 1024 ** 2,
  },
  catalog: { backend: 'sqlite', path: '{home}/longshore.db' },
  records: { backend: 'sqlite', keep_log_days: 365 },
  archive: {
    copies: ['filesystem'],
    types: {},
    backends: { filesystem: { kind: 'filesystem' } },
    // Longer than the maintenance of a tape library.
    patience_seconds: 24 * 3600,
    checkpoint_bytes: 256 * 1024 ** 2,
  },
  digests: { member: ['blake3'], bundle: ['blake3'] },
  bundle: { pax_times: 'large', xattrs: true, duplicates: 'refuse', max_expansion: 1000 },
  validate: { level: 'stream' },
  fixity: {
    max_bytes_per_run: 1024 ** 4,
    max_bytes_per_second: 100 * 1024 ** 2,
    prove_every_days: 90,
    // Reading wears tapes and keeps drives from others; HPSS states the digest it stored.
    levels: { sda: 'digest' },
    alarm: null,
  },
  queue: {
    url: fromEnv('REDIS_URL', null),
    username: fromEnv('QUEUE_USER', null),
    password: secretFromEnv('QUEUE_PASS', null),
    sentinel_username: fromEnv('QUEUE_SENTINEL_USER', null),
    sentinel_password: secretFromEnv('QUEUE_SENTINEL_PASS', null),
    prefix: 'longshore',
    lock_seconds: 30,
    stalled_check_seconds: 15,
    silence_seconds: 20,
    share_by: 'project',
  },
  mongodb: {
    url: new MongoUrl(),
    database: fromEnv('MONGO_DB', null),
    answer_seconds: 30,
    patience_seconds: 300,
  },
  bag: { source_organization: null },
  email: {
    from_addr: 'longshore@localhost',
    sendmail_path: '/usr/sbin/sendmail',
    alarm_to: [] as string[],
  },
  workflow_registry: {
    integrated: {
      description: 'Land a dataset: wait until it is stable, archive it, stage it back and publish it.',
      steps: [
        { name: 'await stability', task: 'await_stability' },
        // The archive step reads every byte anyway, and digests it then.
        { name: 'inspect', task: 'inspect_dataset', kwargs: { digests: false } },
        { name: 'archive', task: 'archive_dataset' },
        { name: 'stage', task: 'stage_dataset' },
        { name: 'validate', task: 'validate_dataset' },
        { name: 'setup_download', task: 'setup_dataset_download' },
      ],
    },
    archive: {
      description:
        'Archive what the origin holds now, without waiting for it; what is archived already is not written again.',
      steps: [
        { name: 'inspect', task: 'inspect_dataset', kwargs: { digests: false } },
        { name: 'archive', task: 'archive_dataset' },
      ],
    },
    copies: {
      description:
        'Make the copies that an archive of the type lacks, or holds damaged, from one that proves good; the origin may be gone.',
      steps: [{ name: 'archive', task: 'archive_dataset' }],
    },
    stage: {
      description: 'Bring an archived dataset back to disk and publish it.',
      steps: [
        { name: 'stage', task: 'stage_dataset' },
        { name: 'validate', task: 'validate_dataset' },
        { name: 'setup_download', task: 'setup_dataset_download' },
      ],
    },
    qc: {
      description: 'FastQC and MultiQC over a staged dataset.',
      steps: [{ name: 'qc', task: 'generate_qc' }],
    },
    purge: {
      description: 'Remove the staged copy with its bundle and links; the archive keeps the dataset.',
      // Frees space that what runs may be waiting for.
      steps: [{ name: 'purge', task: 'purge_dataset', priority: 9 }],
    },
    delete: {
      description: 'Delete a dataset: archive, staged copy, bundles and links.',
      steps: [{ name: 'delete', task: 'delete_dataset' }],
    },
  },
  workflow: {
    purge: { types: ['integrated', 'stage', 'delete'], age_threshold_seconds: 86_400, max_purge_count: 10 },
    retry: { max: 3, delay_seconds: 5, tasks: {} },
    // Above what a node meets that is rebooted, upgraded and runs out of memory in one night; a poisoned job ends within a minute.
    max_losses: 2,
    resume_lock_seconds: 60,
    reconcile_seconds: 30,
  },
  workers: { worker: { queues: ['{app_id}.q'] } },
  fleet: { heartbeat_seconds: 3, watchdog_seconds: 60, hang_seconds: 60 },
  autoscale: {
    min: 2,
    max: 8,
    idle_seconds: 30,
    calm_seconds: 15,
    hold: {
      // With as many busy processes as processors something waits a third of the time; with twice as many, always.
      cpu_percent: 90,
      // A single stream from one disk stalls most of the time and is well.
      io_percent: 95,
      memory_stall_percent: 10,
      memory_used_percent: 85,
    },
    // systemd-oomd begins to kill at a stall of 60 % for 30 s.
    shrink: { memory_stall_percent: 30, memory_used_percent: 93 },
    // Of 24 GB one is left then, of a container's 2 GB 80 MB: enough for the fraction of a second that a hand-over takes.
    hand_back: { memory_used_percent: 96 },
  },
  // Off: how many processes a node bears is known to those who run it.
  instances: {
    start: fromEnv('LONGSHORE_WORKERS', null),
    min: 1,
    max: 1,
    age_seconds: 60,
    idle_seconds: 600,
  },
  resources: {} as Record<string, number>,
  task: {
    kill_grace_seconds: 5,
    time_limit_seconds: 86_400,
    soft_time_limit_seconds: 85_800,
    memory_bytes: null,
    attempts_per_process: 1,
    nice: 0,
    ionice: null,
    limits: {},
  },
  reload: { watch: 'all', compile_tasks: true, idle_wait_seconds: 300 },
  inspect: { file_metadata_batch_size: 25_000, digests: true },
  qc: { threads: availableParallelism(), batch_size: 8, file_globs: ['**/*.fastq.gz', '**/*.fq.gz'] },
  tools: { fastqc: 'fastqc', multiqc: 'multiqc', bs: 'bs' },
  illumina: { download: { datasets: { n_days: 7 } } },
  gateway: {
    enabled: fromEnv('LONGSHORE_GATEWAY', false),
    host: fromEnv('GATEWAY_HOST', '127.0.0.1'),
    port: fromEnv('GATEWAY_PORT', 5001),
    root_path: '/rhythm',
    body_bytes: 1024 ** 2,
    page_limit: 1000,
    refuse_second: false,
    docs: true,
    jwt: {
      private_key_file: fromEnv('GATEWAY_PRIVATE_KEY_FILE', '{home}/gateway/private.pem'),
      public_key_file: fromEnv('GATEWAY_PUBLIC_KEY_FILE', '{home}/gateway/public.pem'),
      issuer: fromEnv('GATEWAY_ISSUER', 'localhost'),
    },
  },
  metrics: { quota: ['sda'], lustre: null, df: null, answer_seconds: 60 },
  enabled_features: { notifications: false },
  uploads: {
    stale_uploading_hours: 6,
    verification_timeout_hours: 4,
    notify: { role_ids: [] as number[], user_ids: [] as number[] },
  },
  doctor: {
    free_percent: 10,
    free_inodes_percent: 10,
    clock_skew_seconds: 2,
    redis_latency_ms: 10,
    answer_seconds: 30,
  },
  schedules: [
    { script: 'scrub', args: [] as string[], cron: '0 2 * * *' },
    // Of what stagings and recalls have found.
    { script: 'raise_alarms', args: [] as string[], cron: '*/5 * * * *', missed: 'skip' },
    { script: 'purge_staged_datasets', args: [] as string[], cron: '0 7 * * *' },
    { script: 'purge_stale_workflows', args: [] as string[], cron: '0 7 * * *' },
    { script: 'metrics', args: [] as string[], cron: '0 21 * * *' },
    // Workers do it twice a minute; this is the run whose result stands in `longshore schedules`.
    { script: 'reconcile', args: [] as string[], cron: '*/15 * * * *', missed: 'skip' },
    // A minute that was missed is made up for by the next one.
    {
      script: 'manage_upload_workflows',
      args: ['--max-retries=3'],
      cron: '* * * * *',
      missed: 'skip',
      only: 'uploads',
    },
    {
      script: 'purge_stale_uploaded',
      args: ['--ttl-days=14', '--stale-uploading-days=14'],
      cron: '15 7 * * *',
      only: 'uploads',
    },
  ],
};
