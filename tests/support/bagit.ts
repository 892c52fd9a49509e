/** The BagIt tool of the Library of Congress, which knows nothing of Longshore: in a venv of its own, made once. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';

const home = join(import.meta.dirname, '../../var/tools/bagit');
/** pkg_resources, which this version imports, left setuptools with 81. */
const PACKAGES = ['bagit==1.8.1', 'setuptools<81'];

export type BagIt =
  | { readonly check: (bag: string) => { code: number | null; output: string } }
  | { readonly missing: string };

export function bagItTool(): BagIt {
  const python = join(home, 'bin/python');
  if (!existsSync(python)) {
    const missing = install();
    if (missing !== null) return { missing };
  }
  return {
    check: (bag) => {
      const done = spawnSync(python, ['-m', 'bagit', '--validate', bag], { encoding: 'utf8' });
      return { code: done.status, output: `${done.stdout}${done.stderr}` };
    },
  };
}

function install(): string | null {
  // Under another name until it is complete: a run that was killed must not leave a venv without the tool.
  const fresh = `${home}.${process.pid}`;
  mkdirSync(join(home, '..'), { recursive: true });
  const steps: [string, string[]][] = [
    ['python3', ['-m', 'venv', '--copies', fresh]],
    [
      join(fresh, 'bin/python'),
      ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', ...PACKAGES],
    ],
  ];
  try {
    for (const [program, args] of steps) {
      const done = spawnSync(program, args, { encoding: 'utf8', timeout: 120_000 });
      if (done.status !== 0)
        return `${program} ${args.join(' ')}: ${done.error?.message ?? done.stderr.trim()}`;
    }
    // Another run may have been faster; both are the same.
    if (!existsSync(home)) renameSync(fresh, home);
    return null;
  } finally {
    rmSync(fresh, { recursive: true, force: true });
  }
}
