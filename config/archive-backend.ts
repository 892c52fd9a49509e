import { z } from 'zod';
import { absolutePath, text } from './scalars.ts';

/** One place that holds bundles, by its kind; `docs/archives.md` has a page for each. */
export const archiveBackend = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('filesystem'),
    /** Put before every archive path; without it archive paths are absolute. */
    root: absolutePath.optional(),
    /** `required`: a new archive must be marked by hand, so that an empty mount point is never taken for one. */
    mark: z.enum(['auto', 'required']).default('auto'),
    /** A mount that answers no question in this time is away. */
    answer_seconds: z.number().positive().default(60),
  }),
  z.strictObject({
    kind: z.literal('sda'),
    hsi: text.default('hsi'),
    /** Options before the command, as `-l user -A keytab`. */
    hsi_args: z.array(z.string()).default([]),
    /** Put before every archive path, a folder of HPSS; without it archive paths stand for themselves. */
    root: text.optional(),
    /** `-c on`: hsi computes, stores and compares digests. */
    checksum: z.boolean().default(true),
    /** A put is left out when the archive states the digest of the local file already. */
    preflight: z.boolean().default(true),
    /** How often the size of a growing remote file is asked for. */
    poll_seconds: z.number().positive().default(5),
    /** No progress for so long, a tape being mounted included, is an outage. */
    stall_seconds: z.number().positive().default(3600),
    /** Tape transfers at a time of the whole fleet. */
    max_transfers: z.int().min(1).default(4),
  }),
  z.strictObject({
    kind: z.literal('s3'),
    bucket: text,
    /** Null: AWS. */
    endpoint: z.url().nullable().default(null),
    region: text.default('us-east-1'),
    /** Put before every key, with its slash. */
    prefix: z.string().default(''),
    /** Null: as the AWS SDK finds them (environment, ~/.aws, instance role). */
    access_key_id: text.nullable().default(null),
    secret_access_key: text.nullable().default(null),
    storage_class: text.nullable().default(null),
    force_path_style: z.boolean().default(true),
    /** Of a multipart upload: grown for bundles that would have more than 10,000 parts. */
    part_bytes: z
      .int()
      .min(5 * 1024 ** 2)
      .default(32 * 1024 ** 2),
    /** Parts in flight; each is held in memory. */
    concurrency: z.int().min(1).max(16).default(3),
    stall_seconds: z.number().positive().default(120),
  }),
  z.strictObject({
    kind: z.literal('rclone'),
    rclone: text.default('rclone'),
    /** `remote:` or `remote:folder`, as in the rclone configuration. */
    remote: z.string().regex(/^[^:]+:/, 'expected "remote:" or "remote:folder"'),
    /** Null: rclone's own default. */
    config_file: absolutePath.nullable().default(null),
    /** More options for every call, as `--sftp-key-file …`. */
    args: z.array(z.string()).default([]),
    stall_seconds: z.number().positive().default(300),
  }),
]);
