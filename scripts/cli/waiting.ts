/** Says on stderr what is waited for, when it takes longer than anybody likes to wait without a word. */
const QUIET_MS = 1000;

export interface Waiting {
  /** From now on this is what is waited for. */
  on(what: string): void;
  over(): void;
}

export function startWaiting(out: { write(text: string): unknown } = process.stderr): Waiting {
  let timer: NodeJS.Timeout | undefined;
  const over = (): void => clearTimeout(timer);
  return {
    on: (what) => {
      over();
      timer = setTimeout(() => out.write(`${what} …\n`), QUIET_MS);
    },
    over,
  };
}
