import { z } from 'zod';
import { api } from './api.ts';
import { archiveBackend } from './archive-backend.ts';
import { gateway } from './gateway.ts';
import { metrics } from './metrics.ts';
import { mongodb } from './mongodb.ts';
import { redisUrl } from './redis-url.ts';
import { absolutePath, count, seconds, text } from './scalars.ts';
import { autoscale, fleet, instances } from './scaling.ts';
import { schedule } from './schedule.ts';
import { stage } from './staged-copies.ts';
import { retryPolicy, someRetryPolicy, someTaskLimits, taskLimits } from './task-limits.ts';
import { uploads } from './uploads.ts';
import { workerApp, workflowDefinition } from './workflows.ts';

/**
 * What a configuration must look like. Everything is strict: a key that stands nowhere here is a mistake and
 * stops the start with its name. Sizes are bytes, times are named by their unit.
 */
const digestName = z.enum(['blake3', 'md5', 'sha256']);
const globs = z.array(text);
/** One mailbox and nothing around it; workers/tools/mail.ts takes no other. */
const mailbox = z
  .string()
  .regex(/^[A-Za-z0-9][^\s,;:<>"()[\]\\@]*@[A-Za-z0-9.-]+$/, 'expected one mailbox, as ops@example.org');

/** Folders of one dataset type. `{year}` stands for the calendar year at the moment of use. */
const typePaths = z.strictObject({
  upload: absolutePath,
  archive: text,
  stage: absolutePath,
  bundle: z.strictObject({ generate: absolutePath, stage: absolutePath }),
  qc: absolutePath,
});

const typeRegistration = z.strictObject({
  /** Watched folders; one path or several. */
  source_dir: z.union([absolutePath, z.array(absolutePath).min(1)]),
  /** Shell globs on the folder name; a match is never registered. */
  rejects: globs,
});

const paths = z
  .object({ scratch: absolutePath, download_dir: absolutePath, root: absolutePath })
  .catchall(typePaths);

const registration = z
  .object({
    recency_threshold_seconds: seconds,
    /** Bytes; a smaller folder is not registered until a full scan finds it grown. 0: any size, empty too. */
    minimum_dataset_size: count,
    wait_between_stability_checks_seconds: z.number().positive(),
    poll_interval_seconds: z.number().positive(),
    full_scan_every_n_scans: z.int().min(1),
    batch_size: z.int().min(1).max(1000),
    /** Workflow that a newly seen dataset starts with. */
    workflow: text,
  })
  .catchall(typeRegistration);

export const schema = z.strictObject({
  app_id: z.string().regex(/^[A-Za-z0-9._-]+$/, 'expected letters, digits, dots, dashes and underscores'),
  /** Everything Longshore keeps for itself on this host: embedded Redis, SQLite, logs, locks. */
  state_dir: absolutePath,
  dataset_types: z.array(z.string().regex(/^[A-Z][A-Z0-9_]*$/, 'expected upper case, as RAW_DATA')).min(1),
  genome_file_types: z.array(z.string().startsWith('.')),
  api,
  paths,
  registration,
  register_ondemand: z.record(z.string(), z.strictObject({ source_dir: absolutePath })),
  logs: z.strictObject({
    register_ondemand: absolutePath,
    /** A log file of a process that is larger is set aside; null: another program does that. */
    max_bytes: z.int().min(1).nullable(),
    /** So many of each that were set aside are kept. */
    keep: z.int().min(1),
  }),
  service_user: text,
  stage,
  catalog: z.strictObject({
    backend: z.enum(['sqlite', 'mongodb', 'rest']),
    /** Of the file of the back end `sqlite`. */
    path: absolutePath,
  }),
  /** Workflows, runs, logs: `sqlite` keeps them in the file of `catalog.path`. */
  records: z.strictObject({
    backend: z.enum(['sqlite', 'mongodb']),
    /** What programs of tasks printed goes after so many days; null: never. Runs, their results and failures stay. */
    keep_log_days: z.number().positive().nullable(),
  }),
  archive: z.strictObject({
    /** Back ends that hold a copy of every bundle; the first one is read. A dataset is archived when all have it. */
    copies: z.array(text).min(1),
    /** The same for single dataset types. */
    types: z.record(z.string(), z.array(text).min(1)),
    /** A step waits so long for an archive that is away, as a delayed job, before it fails and waits for a person. */
    patience_seconds: z.number().min(0),
    /** Distance of the places in a bundle from which a killed packing goes on. */
    checkpoint_bytes: z.int().min(1024 ** 2),
    /** By the name that `copies` and the records use; never rename one that holds bundles. */
    backends: z.record(
      z.string().regex(/^[A-Za-z0-9_-]+$/, 'expected letters, digits, _ and -'),
      archiveBackend,
    ),
  }),
  digests: z.strictObject({
    /** Digests of every file. The first one proves the staged copy. */
    member: z.array(digestName).min(1),
    /** Digests of the bundle. */
    bundle: z.array(digestName).min(1),
  }),
  bundle: z.strictObject({
    /**
     * Members whose modification time the tar itself holds to the nanosecond: files of 64 KiB and more, or all, for 1 KiB
     * each. The manifest holds those of all.
     */
    pax_times: z.enum(['large', 'all']),
    /** Keep extended attributes of the `user.` namespace. */
    xattrs: z.boolean(),
    /**
     * Of bundles that another system made (no manifest). A name that stands twice, as in a tar that was appended to:
     * `replace` lets the later file win, and warns.
     */
    duplicates: z.enum(['refuse', 'replace']),
    /**
     * Of the same, where the catalog knows no size: what is unpacked may have so many times the size of the bundle (files
     * with holes; 16 GiB are never too many).
     */
    max_expansion: z.number().min(1),
  }),
  validate: z.strictObject({ level: z.enum(['stream', 'readback']) }),
  /** The scrub: how the archive is proven again and again, see docs/fixity.md. */
  fixity: z.strictObject({
    /** Read by one run. The copy that is due first is read whatever its size. */
    max_bytes_per_run: z.int().min(1),
    /** Null: as fast as the archive gives them. */
    max_bytes_per_second: z.number().positive().nullable(),
    /** Copies that were proven more recently are left alone. */
    prove_every_days: z.number().positive(),
    /** By the name or the kind of an archive; else `stream` where parts can be read, `digest` where not (tape). */
    levels: z.record(z.string(), z.enum(['digest', 'stream'])),
    /** A program and its arguments, called for each finding with the proof as JSON on stdin; no shell. */
    alarm: z.array(text).min(1).nullable(),
  }),
  queue: z.strictObject({
    /** null: the Redis that Longshore starts itself under state_dir. */
    url: redisUrl.nullable(),
    username: text.nullable(),
    password: text.nullable(),
    /** Of the Sentinels, where the address names such. */
    sentinel_username: text.nullable(),
    sentinel_password: text.nullable(),
    /** First part of every Redis key. */
    prefix: text,
    /** A job whose worker is silent for this long is given to another one. */
    lock_seconds: z.number().min(1),
    /** How often workers look for such jobs. */
    stalled_check_seconds: z.number().min(0.5),
    /** A connection that owes an answer for this long is given up and opened anew. Waiting for a job takes up to 10 s. */
    silence_seconds: z.number().min(12),
    /** Who gets an equal share of the fleet while jobs wait; null: first come, first served. */
    share_by: z
      .union([z.enum(['project', 'type']), z.string().regex(/^metadata\..+/)], {
        error: 'expected "project", "type" or "metadata.<field>"',
      })
      .nullable(),
  }),
  mongodb,
  /** What every bag says of where it comes from; null: nothing. */
  bag: z.strictObject({ source_organization: text.nullable() }),
  email: z.strictObject({
    from_addr: mailbox,
    sendmail_path: absolutePath,
    /** Who is told of damaged copies and of jobs that were set aside; nobody: no mail is sent. */
    alarm_to: z.array(mailbox),
  }),
  workflow_registry: z.record(z.string(), workflowDefinition),
  workflow: z.strictObject({
    purge: z.strictObject({ types: z.array(text), age_threshold_seconds: seconds, max_purge_count: count }),
    retry: retryPolicy.extend({
      /** By the name of a task; beats what the task itself declares. */
      tasks: z.record(z.string(), someRetryPolicy),
    }),
    /**
     * A job that has lost its process more often than this is set aside. A loss counts whole when its own process crashed
     * or ran out of memory, half when it was killed, and by its share when a worker died with several jobs.
     */
    max_losses: z.int().min(1),
    /** A resume that no worker takes up in this time may be asked for again. */
    resume_lock_seconds: z.number().positive(),
    /** How often a worker looks for workflows whose queue entry is missing, and repairs them. */
    reconcile_seconds: z.number().positive(),
  }),
  /** pm2 apps of workers, by name, and what each takes jobs from. */
  workers: z.record(
    z
      .string()
      .regex(/^[a-z][a-z0-9-]*$/, 'expected lower case letters, digits and dashes')
      // pm2 would read its own option for watching files under the second name.
      .refine((name) => !['watcher', 'watch', 'gateway', 'redis'].includes(name), 'this app is another one'),
    workerApp,
  ),
  autoscale,
  fleet,
  instances,
  task: taskLimits.extend({
    /** SIGTERM to SIGKILL, when a running task is stopped. */
    kill_grace_seconds: seconds,
    /** By the name of a task; beats what the task itself declares. */
    limits: z.record(z.string(), someTaskLimits),
  }),
  reload: z.strictObject({
    /**
     * What a worker does about changed code. `tasks`: jobs use changed tasks, and it says when it must be restarted itself;
     * `all`: it also restarts itself when it is idle; `off`: nothing is watched.
     */
    watch: z.enum(['tasks', 'all', 'off']),
    /** Brings together the code of a task that is started often, so that its processes start in two thirds of the time. */
    compile_tasks: z.boolean(),
    /** After this long without an idle moment it says that it must be restarted by somebody. */
    idle_wait_seconds: seconds,
  }),
  /** How many steps of the whole fleet may hold each at a time: drives, a mount, a licence. 0: none for now. */
  resources: z.record(z.string().regex(/^[A-Za-z0-9._-]+$/, 'expected letters, digits, ., _ and -'), count),
  inspect: z.strictObject({
    /** Rows that reach the catalog in one call. */
    file_metadata_batch_size: z.int().min(1),
    /** Read and digest every file. A workflow that archives next says false in its step's kwargs. */
    digests: z.boolean(),
  }),
  qc: z.strictObject({ threads: z.int().min(1), batch_size: z.int().min(1), file_globs: globs }),
  tools: z.strictObject({ fastqc: text, multiqc: text, bs: text }),
  illumina: z.strictObject({
    download: z.strictObject({ datasets: z.strictObject({ n_days: z.int().min(1) }) }),
  }),
  gateway,
  metrics,
  enabled_features: z.strictObject({ notifications: z.boolean() }),
  uploads,
  /** What `longshore doctor` finds fault with, see docs/doctor.md. */
  doctor: z.strictObject({
    /** Less free space (or fewer free inodes) of a file system is a warning, half of it a problem. */
    free_percent: z.number().min(0).max(100),
    free_inodes_percent: z.number().min(0).max(100),
    /** Clocks of Redis and of file systems against this host's. */
    clock_skew_seconds: z.number().positive(),
    /** Median of 100 PINGs; ten times as much is a problem. */
    redis_latency_ms: z.number().positive(),
    /** What has not answered then is away: a mount, a program, an archive. */
    answer_seconds: z.number().positive(),
  }),
  schedules: z.array(schedule),
});

export type ConfigShape = z.infer<typeof schema>;
export type TypePaths = z.infer<typeof typePaths>;
export type TypeRegistration = z.infer<typeof typeRegistration>;
export type WorkflowDefinition = z.infer<typeof workflowDefinition>;
export type DigestName = z.infer<typeof digestName>;

type DeepReadonly<T> = T extends object ? { readonly [K in keyof T]: DeepReadonly<T[K]> } : T;

/** The two types every installation has; others are reached with `pathsOf(config, type)`. */
type KnownTypes<T> = { readonly RAW_DATA: DeepReadonly<T>; readonly DATA_PRODUCT: DeepReadonly<T> };

/** A checked, frozen configuration, with the environment it was made for. */
export type Config = DeepReadonly<Omit<ConfigShape, 'paths' | 'registration'>> & {
  readonly paths: DeepReadonly<Pick<ConfigShape['paths'], 'scratch' | 'download_dir' | 'root'>> &
    KnownTypes<TypePaths>;
  readonly registration: DeepReadonly<
    Pick<
      ConfigShape['registration'],
      | 'recency_threshold_seconds'
      | 'minimum_dataset_size'
      | 'wait_between_stability_checks_seconds'
      | 'poll_interval_seconds'
      | 'full_scan_every_n_scans'
      | 'batch_size'
      | 'workflow'
    >
  > &
    KnownTypes<TypeRegistration>;
  /** Resolved name of the environment: `local`, `docker`, `production`, … */
  readonly app_env: string;
};
