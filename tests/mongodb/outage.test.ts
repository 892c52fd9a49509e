import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { expect, test } from 'vitest';

const OUTAGE = join(import.meta.dirname, '../../workers/mongodb/outage.ts');

/** @param turns what another process goes through: ms that it has waited by then, or that it is over */
function told(...turns: (number | 'over')[]): string[] {
  const program = `
    import { outageTeller } from ${JSON.stringify(OUTAGE)};
    const teller = outageTeller('own');
    for (const turn of ${JSON.stringify(turns)})
      await (turn === 'over' ? teller.isOver() : teller.goesOn(turn, new Error('away')));
  `;
  const { stderr, stdout } = spawnSync(
    process.execPath,
    ['--disable-warning=ExperimentalWarning', '--input-type=module', '--eval', program],
    { encoding: 'utf8', env: { ...process.env, LOG_LEVEL: 'info' } },
  );
  expect(stdout).toBe('');
  return stderr
    .trim()
    .split('\n')
    .filter(Boolean)
    .map((line) => (JSON.parse(line) as { msg: string }).msg);
}

test('an outage is told once when it lasts, and so is its end; a short one is not told at all', () => {
  const [begins, ends] = ['MongoDB does not answer; what is asked of it waits', 'MongoDB answers again'];
  expect(told(50, 2_900, 'over', 'over')).toEqual([]);
  expect(told(50, 3_000, 8_000, 13_000, 'over', 'over')).toEqual([begins, ends]);
  expect(told(4_000, 'over', 50, 'over', 4_000)).toEqual([begins, ends, begins]);
});
