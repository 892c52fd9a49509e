import { lookup, lookupService } from 'node:dns/promises';
import { hostname } from 'node:os';

/** A name service that does not answer keeps nobody longer. */
const PATIENCE_MS = 2_000;

let asked: Promise<string> | null = null;

/**
 * The full name of this host, as its name service knows it; its own name where that knows none. Facilities see it beside
 * metrics and the processes of tasks. Asked once in a process.
 */
export const qualifiedName = (): Promise<string> => (asked ??= ask(hostname()));

async function ask(name: string): Promise<string> {
  if (name.includes('.')) return name;
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<string>((resolve) => {
    timer = setTimeout(resolve, PATIENCE_MS, name);
  });
  try {
    return await Promise.race([byService(name), late]);
  } finally {
    clearTimeout(timer);
  }
}

async function byService(name: string): Promise<string> {
  try {
    const { address } = await lookup(name);
    const found = (await lookupService(address, 0)).hostname;
    return found.startsWith(`${name}.`) ? found : name;
  } catch {
    return name; // Without a name service there is no longer name to be had.
  }
}
