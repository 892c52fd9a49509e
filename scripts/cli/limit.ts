/** How much of a long list is shown, and what is said of the rest. */
import { type Command, InvalidArgumentError, Option } from 'commander';
import { count, counted } from './format.ts';

export interface Limited {
  readonly limit: number;
  readonly all?: boolean;
}

/** More than anybody has, and still a number that every back end takes. */
const EVERYTHING = 9_999_999;

export const addLimit = (command: Command, usual: number): Command =>
  command
    .addOption(
      new Option('--limit <n>', 'at most this many, with --json too').default(usual).argParser((text) => {
        if (/^[1-9][0-9]{0,6}$/.test(text)) return Number(text);
        throw new InvalidArgumentError(`Expected a whole number from 1 to ${EVERYTHING}.`);
      }),
    )
    .addOption(new Option('--all', 'without a limit').conflicts('limit'));

export const limitOf = ({ limit, all = false }: Limited): number => (all ? EVERYTHING : limit);

/**
 * The last line of a list: `no datasets`, `3 datasets`, `50 of 362 datasets, 312 more: --limit N or --all`.
 *
 * @param total null: not known, there may be more
 */
export function tailOf(shown: number, total: number | null, one: string, many = `${one}s`): string {
  if (total === null) return `${counted(shown, one, many)}, there may be more: --limit N or --all`;
  if (total === 0) return `no ${many}`;
  if (shown >= total) return counted(total, one, many);
  return `${count(shown)} of ${counted(total, one, many)}, ${count(total - shown)} more: --limit N or --all`;
}
