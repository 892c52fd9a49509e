import { z } from 'zod';

const mounts = z.array(z.string().startsWith('/', 'expected an absolute path')).nullable();

/** What `metrics` measures, see docs/scripts.md. */
export const metrics = z.strictObject({
  /** Rows of the `quota` command that are kept, by what stands under Filesystem; null: all. */
  quota: z.array(z.string().min(1, 'expected a non-empty text')).nullable(),
  /** Mounts that `lfs quota -u <service_user>` is asked about; null: the Lustre mounts that configured folders lie on. */
  lustre: mounts,
  /** Mounts that `df` is asked about; null: all that configured folders lie on. */
  df: mounts,
  /** What has not answered then is left out, and told. */
  answer_seconds: z.number().positive(),
});
