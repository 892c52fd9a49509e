import { Command } from 'commander';
import { expect, test } from 'vitest';
import { addCommands, COMMAND_FILES } from '../../scripts/cli/commands.ts';

const namesOf = (program: Command): string[] => program.commands.map((command) => command.name());

test.each(COMMAND_FILES)('$names are what their file adds', async (file) => {
  const program = new Command('longshore');
  const add = await file.load();
  add(program);
  expect(namesOf(program).sort()).toEqual([...file.names].sort());
});

test('a command is loaded without the others; help and mistakes know all of them', async () => {
  const loaded = async (...words: string[]): Promise<string[]> => {
    const program = new Command('longshore');
    await addCommands(program, words);
    return namesOf(program);
  };
  expect(await loaded('unpin', 'run_17', '--json')).toEqual(['pin', 'unpin']);
  const all = COMMAND_FILES.flatMap(({ names }) => names).sort();
  for (const words of [[], ['--help'], ['help', 'show'], ['shwo', 'run_17']])
    expect((await loaded(...words)).sort()).toEqual(all);
});
