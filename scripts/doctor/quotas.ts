import { userInfo } from 'node:os';
import type { Config } from '../../config/index.ts';
import { mountOf, readMounts } from '../../workers/content/mounts.ts';
import { ask } from '../../workers/tools/ask.ts';
import { bytes, count } from '../cli/format.ts';
import { type Finding, finding, ok } from './finding.ts';
import { usedMounts } from './paths.ts';

/** One limit of one file system; sizes in bytes. */
export interface Quota {
  readonly file_system: string;
  readonly what: 'space' | 'files';
  readonly used: number;
  readonly limit: number;
}

/** Where `quota` and `lfs quota` are installed and answer; a host without either has no findings but one. */
export async function* quotaFindings(config: Config): AsyncGenerator<Finding> {
  const seconds = config.doctor.answer_seconds * 0.8;
  const mounts = readMounts();
  const lustre = usedMounts(config).filter((point) => mountOf(point, mounts)?.type === 'lustre');
  const answers = await Promise.all([
    answerOf('quota', ['-w', '-p'], seconds).then(parseQuota),
    ...lustre.map((point) =>
      answerOf('lfs', ['quota', '-q', '-u', userInfo().username, point], seconds).then(parseLustreQuota),
    ),
  ]);
  const quotas = answers.flat();
  if (quotas.length === 0)
    yield ok('quota.limit', { seen: 'no quota answers for this user', expected: 'room below every quota' });
  for (const quota of quotas) yield judgeQuota(quota);
}

export function judgeQuota({ file_system, what, used, limit }: Quota): Finding {
  const share = (100 * used) / limit;
  const shown = what === 'space' ? bytes : count;
  return finding(share >= 100 ? 'problem' : share >= 90 ? 'warning' : 'ok', 'quota.limit', {
    subject: `${file_system} ${what}`,
    seen: `${shown(used)} of ${shown(limit)} (${share.toFixed(1)} %)`,
    expected: 'less than 90 % of the quota',
    remedy:
      'Free room in this file system or ask for a larger quota: above it writes fail as on a full disk.',
  });
}

/** `quota -w -p`: blocks of 1 KiB; 0 where there is no limit, and an asterisk behind what is exceeded. */
export function parseQuota(text: string): Quota[] {
  return text.split('\n').flatMap((line) => {
    const words = line.trim().split(/\s+/);
    const numbers = words.slice(1).map((word) => Number(word.replace('*', '')));
    const [blocks, soft, hard, , files, softFiles, hardFiles] = numbers;
    if (words.length < 8 || numbers.slice(0, 3).some(Number.isNaN)) return [];
    return quotasOf(words[0] ?? '', {
      blocks,
      space: soft || hard,
      files,
      filesLimit: softFiles || hardFiles,
    });
  });
}

/** `lfs quota -q`: one line, or the path on a line of its own where it is long; grace stands as `-`. */
export function parseLustreQuota(text: string): Quota[] {
  const words = text.trim().split(/\s+/);
  const number = (at: number): number => Number((words[at] ?? '').replace(/[*[\]]/g, ''));
  if (words.length < 8) return [];
  return quotasOf(words[0] ?? '', {
    blocks: number(1),
    space: number(2) || number(3),
    files: number(5),
    filesLimit: number(6) || number(7),
  });
}

interface Row {
  readonly blocks: number | undefined;
  readonly space: number | undefined;
  readonly files: number | undefined;
  readonly filesLimit: number | undefined;
}

const quotasOf = (
  file_system: string,
  { blocks = 0, space = 0, files = 0, filesLimit = 0 }: Row,
): Quota[] => [
  ...(space > 0 ? [{ file_system, what: 'space' as const, used: blocks * 1024, limit: space * 1024 }] : []),
  ...(filesLimit > 0 ? [{ file_system, what: 'files' as const, used: files, limit: filesLimit }] : []),
];

/** `quota` ends with 1 when one is exceeded; what is not installed or does not end says nothing. */
const answerOf = async (command: string, args: readonly string[], seconds: number): Promise<string> =>
  (await ask(command, args, seconds)).text;
