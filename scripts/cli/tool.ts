/** A script of its own that is a command of `longshore` as well: told once, found wherever an operator looks for it. */
import { type Command, InvalidArgumentError, Option } from 'commander';
import { createProgram, helpTail, runProgram, spelled } from './program.ts';

export interface Tool {
  /** Its file in scripts/ without `.ts`; the command has dashes for the underscores. */
  readonly script: string;
  readonly description: string;
  /** The same in a few words, for the list of commands. */
  readonly summary: string;
  /** What stands behind its name in the examples. */
  readonly examples: readonly string[];
  /** Adds arguments, options and the action. */
  define(command: Command): Command;
}

export const runTool = (tool: Tool): Promise<void> => {
  const examples = tool.examples.map((args) => `node scripts/${tool.script}.ts ${args}`.trimEnd());
  return runProgram(tool.define(createProgram(tool.script, tool.description, examples)));
};

export function addTool(program: Command, tool: Tool): void {
  const name = tool.script.replaceAll('_', '-');
  const examples = tool.examples.map((args) => `longshore ${name} ${args}`.trimEnd());
  tool.define(
    program
      .command(name)
      .summary(tool.summary)
      .description(tool.description)
      .addHelpText('after', helpTail(examples)),
  );
}

export const valued = (name: string, value: string, description: string): Option =>
  new Option(`${spelled(name)} <${value}>`, description);

/** @param least the smallest number that makes sense */
export const wholeNumber =
  (least = 0) =>
  (text: string): number => {
    if (/^[0-9]{1,9}$/.test(text) && Number(text) >= least) return Number(text);
    throw new InvalidArgumentError(`Expected a whole number from ${least} to 999999999.`);
  };
