/** Several ids in one command: each is tried, whatever became of those before it. */
import { coerceError, type ErrorCode } from '../../workers/errors.ts';
import { count, oneLine, printable } from './format.ts';
import { EXIT, exitCodeOf, toldOf } from './program.ts';
import { printJson } from './session.ts';

/** What became of one of them. */
export interface Outcome {
  readonly json: object;
  /** Its line; a command that has shown it already gives none. */
  readonly text?: string;
  /** Where it was done and the result is bad all the same. */
  readonly code?: number;
}

/** They end the command: the person who says so, and faults of ours, whose place is told. */
const ENDING: ReadonlySet<ErrorCode> = new Set(['E_REVOKED', 'E_TASK_CRASHED']);

/**
 * One id alone is told as ever. Several: a line each, what is to be done about those that failed once, below; with --json
 * `{ [list]: [...] }`, an entry each with `given`, the word it was named by.
 *
 * @returns the exit code: of those that failed where they agree, else {@link EXIT.failed}
 */
export async function tryEach(
  words: readonly string[],
  { list, json = false }: { list: string; json?: boolean | undefined },
  one: (word: string) => Promise<Outcome>,
): Promise<number> {
  const given = [...new Set(words)];
  const [only = ''] = given;
  if (given.length === 1) {
    const outcome = await one(only);
    if (json) printJson(outcome.json);
    else write(outcome.text);
    return outcome.code ?? EXIT.ok;
  }
  const entries: object[] = [];
  const codes: number[] = [];
  const hints = new Set<string>();
  for (const word of given) {
    const { entry, text, code = EXIT.ok, failure } = await attempt(word, one);
    entries.push(entry);
    if (!json) write(text);
    if (!json && failure !== undefined)
      process.stderr.write(`${oneLine(word)}: ${failure.code}: ${printable(failure.message)}\n`);
    if (failure !== undefined) hints.add(failure.hint);
    if (code !== EXIT.ok) codes.push(code);
  }
  if (json) printJson({ [list]: entries });
  else if (codes.length > 0) {
    for (const hint of hints) process.stderr.write(`${printable(hint)}\n`);
    process.stderr.write(`${count(codes.length)} of ${count(given.length)} failed\n`);
  }
  return codes.every((code) => code === codes[0]) ? (codes[0] ?? EXIT.ok) : EXIT.failed;
}

interface Attempted extends Omit<Outcome, 'json'> {
  readonly entry: object;
  readonly failure?: ReturnType<typeof toldOf>;
}

async function attempt(word: string, one: (word: string) => Promise<Outcome>): Promise<Attempted> {
  try {
    const { json, ...outcome } = await one(word);
    return { ...outcome, entry: { given: word, ...json } };
  } catch (error) {
    if (ENDING.has(coerceError(error).code)) throw error;
    const failure = toldOf(error);
    return { entry: { given: word, error: failure }, failure, code: exitCodeOf(error) };
  }
}

function write(text: string | undefined): void {
  if (text !== undefined) process.stdout.write(`${text}\n`);
}
