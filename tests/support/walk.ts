import { isDeepStrictEqual } from 'node:util';
import { coerceError } from '../../workers/errors.ts';

/** One call, said once for all parties. */
export interface Call<Party> {
  /** For whoever reads how a walk went. */
  readonly said: string;
  readonly make: (party: Party) => Promise<unknown>;
}

/** What is the same of two answers although it reads differently. */
interface Names {
  /** Ids that a party has made, by their first appearance. */
  readonly ids: Map<string | number, string>;
  /** Of entries whose numbers are such ids. */
  readonly numbered: readonly string[];
}

interface Answer {
  readonly party: string;
  readonly answer: unknown;
}

const UUID = /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g;
const MOMENT = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;

/**
 * Calls in an order that nobody has thought of, each made to all parties: they give the same answers, but for the ids that
 * they have made and for times between `since` and now.
 *
 * @param next the calls, and after each what is to be looked at as well
 * @throws with all calls until then, when two answers differ
 */
export async function walk<Party>(
  parties: Readonly<Record<string, Party>>,
  next: Iterable<Call<Party>>,
  { numbered = [] }: { numbered?: readonly string[] } = {},
): Promise<void> {
  const named = Object.entries(parties).map(([name, party]) => ({
    name,
    party,
    names: { ids: new Map(), numbered },
  }));
  const since = new Date().toISOString();
  const log: string[] = [];
  for (const { said, make } of next) {
    log.push(said);
    const answers: Answer[] = [];
    // One after the other: they share a clock.
    for (const { name, party, names } of named) {
      const answer = await make(party).catch((error: unknown) => {
        const { code, message } = coerceError(error);
        return { code, message };
      });
      answers.push({ party: name, answer: told(answer, names, since) });
    }
    agree(log, answers);
    await anotherMoment();
  }
}

/** Else two changes of one millisecond would come in the order of their ids, and those of two milliseconds in theirs. */
async function anotherMoment(): Promise<void> {
  const now = Date.now();
  while (Date.now() === now) await new Promise((resolve) => setImmediate(resolve));
}

function agree(log: readonly string[], [first, ...others]: readonly Answer[]): void {
  for (const other of others) {
    if (isDeepStrictEqual(first?.answer, other.answer)) continue;
    const shown = [first, other].map((one) => `${one?.party}: ${JSON.stringify(one?.answer, null, 1)}`);
    throw new Error(`they differ after:\n${log.join('\n')}\n\n${shown.join('\n\n')}`);
  }
}

/** Without what each party has of its own: ids that it made, times, and the order of keys. */
function told(answer: unknown, names: Names, since: string): unknown {
  if (typeof answer === 'string') {
    if (MOMENT.test(answer)) return answer < since ? answer : '<moment>';
    return answer.replaceAll(UUID, (id) => nameOf(id, names));
  }
  if (Array.isArray(answer)) return answer.map((one) => told(one, names, since));
  if (answer === null || typeof answer !== 'object') return answer;
  const entries = Object.entries(answer).filter(([, value]) => value !== undefined);
  return Object.fromEntries(
    entries
      .toSorted(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, value]) => [
        key,
        typeof value === 'number' && names.numbered.includes(key)
          ? nameOf(value, names)
          : told(value, names, since),
      ]),
  );
}

function nameOf(id: string | number, { ids }: Names): string {
  const known = ids.get(id) ?? `<id ${ids.size}>`;
  ids.set(id, known);
  return known;
}
