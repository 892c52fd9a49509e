/** Three mistakes in one command line are told at once, not one for each try. */
import { isLongshoreError, LongshoreError } from '../../workers/errors.ts';

type Answers<Checks extends readonly (() => unknown)[]> = {
  -readonly [At in keyof Checks]: Awaited<ReturnType<Checks[At]>>;
};

/**
 * The answers of all checks, each made whatever became of the others.
 *
 * @throws the one that failed; where several did, one with all they say: with their code if they agree on it, else E_USAGE
 */
export async function checkAll<const Checks extends readonly (() => unknown)[]>(
  checks: Checks,
): Promise<Answers<Checks>> {
  const mistakes: LongshoreError[] = [];
  const answers: unknown[] = [];
  for (const check of checks) {
    try {
      answers.push(await check());
    } catch (error) {
      if (!isLongshoreError(error) || error.code === 'E_REVOKED') throw error;
      mistakes.push(error);
    }
  }
  if (mistakes.length > 0) throw inOne(mistakes);
  return answers as Answers<Checks>;
}

function inOne(mistakes: readonly LongshoreError[]): LongshoreError {
  const [first, ...more] = mistakes as [LongshoreError, ...LongshoreError[]];
  if (more.length === 0) return first;
  const problems = mistakes.map(({ message }) => message);
  const code = mistakes.every((one) => one.code === first.code) ? first.code : 'E_USAGE';
  const hints = [...new Set(mistakes.map(({ hint }) => hint))];
  return new LongshoreError(code, problems.join('; '), { fields: { problems }, hint: hints.join('\n') });
}
