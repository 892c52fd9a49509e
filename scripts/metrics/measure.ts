/** Asks this host how full its file systems are. */
import type { Config } from '../../config/index.ts';
import type { Metric } from '../../workers/catalog/contract.ts';
import { mountOf, readMounts } from '../../workers/content/mounts.ts';
import { ask, type Said } from '../../workers/tools/ask.ts';
import { qualifiedName } from '../../workers/tools/qualified-name.ts';
import { usedMounts } from '../doctor/paths.ts';
import { DF_ARGS, parseDf, parseLustreQuota, parseQuota, type Usage } from './parse.ts';

/** One program that was asked. */
export interface Source {
  readonly source: string;
  /** `absent`: it is not installed on this host. */
  readonly state: Said['state'];
  readonly why: string | null;
  readonly metrics: readonly Metric[];
}

interface Question {
  readonly command: string;
  readonly args: readonly string[];
  readonly parse: (text: string) => readonly Usage[];
  readonly isWanted?: (usage: Usage) => boolean;
}

export async function measure(config: Config): Promise<Source[]> {
  const subject = await qualifiedName();
  const { answer_seconds } = config.metrics;
  return Promise.all(
    questions(config).map(async ({ command, args, parse, isWanted = () => true }): Promise<Source> => {
      const said = await ask(command, args, answer_seconds);
      const found = parse(said.text);
      const metrics = found.filter(isWanted).map((usage) => ({ subject, tags: [], ...usage }));
      const source = [command, ...args].join(' ');
      // `quota` ends with 1 when one is exceeded, and has told what was asked.
      if (found.length > 0 || isSilent(said)) return { source, state: 'answered', why: null, metrics };
      return { source, state: said.state, why: said.why, metrics };
    }),
  );
}

/** As `quota` ends on a host whose file systems have none: without a word. */
const isSilent = ({ text, why }: Said): boolean => text.trim() === '' && why === 'exit code 1';

/**
 * On Lustre `lfs quota` and `df` name the same mount, and the API refuses all figures for two of one name. What was asked
 * first is what this user may have there; `df` knows only of everybody's.
 */
export function oneOfEach(sources: readonly Source[]): Metric[] {
  const found = new Map<string, Metric>();
  for (const metric of sources.flatMap(({ metrics }) => metrics))
    if (!found.has(metric.measurement)) found.set(metric.measurement, metric);
  return [...found.values()];
}

function questions(config: Config): Question[] {
  const { quota, lustre, df } = config.metrics;
  const known = readMounts();
  const used = usedMounts(config);
  const onLustre = lustre ?? used.filter((point) => mountOf(point, known)?.type === 'lustre');
  const points = df ?? used;
  return [
    {
      command: 'quota',
      args: [],
      parse: parseQuota,
      isWanted: ({ measurement }) => quota === null || quota.includes(measurement.replace(/ files$/, '')),
    },
    ...onLustre.map((point) => ({
      command: 'lfs',
      args: ['quota', '-u', config.service_user, point],
      parse: parseLustreQuota,
    })),
    // Each by itself: one that hangs keeps only its own answer.
    ...points.map((point) => ({ command: 'df', args: [...DF_ARGS, point], parse: parseDf })),
  ];
}
