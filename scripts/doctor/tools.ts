import { spawn } from 'node:child_process';
import type { Config } from '../../config/index.ts';
import { missingTasks } from '../../workers/fleet/missing-tasks.ts';
import { environmentFor } from '../../workers/tools/environment.ts';
import { whereIs } from '../../workers/tools/where-is.ts';
import { backendsInUse } from './archives.ts';
import { compareVersions, type Finding, finding, ok, problem } from './finding.ts';

/** A program that this configuration calls. */
export interface Tool {
  readonly command: string;
  readonly why: string;
  /** Arguments that make it say its version; null where it has none. */
  readonly version: readonly string[] | null;
  readonly oldest?: string;
  readonly remedy: string;
}

const install = (what: string): string => `Install it (Debian: apt-get install ${what}), or correct PATH.`;

export function toolsOf(config: Config): Tool[] {
  const { tools, fixity } = config;
  const tasks = new Set(
    Object.values(config.workflow_registry).flatMap(({ steps }) => steps.map(({ task }) => task)),
  );
  const needs = (task: string, more: Tool[]): Tool[] => (tasks.has(task) ? more : []);
  const named = (key: string): string => `Install it, or correct ${key}.`;
  return [
    ...['rm', 'chmod', 'cp', 'find'].map((command) => ({
      command,
      why: 'trees are copied and removed with it',
      version: ['--version'],
      remedy: install(command === 'find' ? 'findutils' : 'coreutils'),
    })),
    {
      command: 'sync',
      why: 'what is published was synced before',
      version: ['--version'],
      // `sync -f` came with 8.24.
      oldest: '8.24',
      remedy: install('coreutils'),
    },
    {
      command: 'perl',
      why: 'system calls that Node has no binding for: swaps, attributes, holes',
      version: ['-e', 'print $^V'],
      remedy: install('perl'),
    },
    ...(config.queue.url === null
      ? [
          {
            command: 'redis-server',
            why: 'queue.url is not set',
            version: ['--version'],
            oldest: '6.2',
            remedy: `${install('redis-server')} Or set REDIS_URL.`,
          },
        ]
      : []),
    ...needs('generate_qc', [
      { command: tools.fastqc, why: 'generate_qc', version: ['--version'], remedy: named('tools.fastqc') },
      { command: tools.multiqc, why: 'generate_qc', version: ['--version'], remedy: named('tools.multiqc') },
    ]),
    ...needs('download_illumina_dataset', [
      {
        command: tools.bs,
        why: 'download_illumina_dataset',
        version: ['--version'],
        remedy: named('tools.bs'),
      },
    ]),
    ...backendsInUse(config).flatMap(({ name, options }): Tool[] => {
      const why = `archive ${name}`;
      // hsi has no way to say its version without logging in.
      if (options.kind === 'sda')
        return [{ command: options.hsi, why, version: null, remedy: named(`archive.backends.${name}.hsi`) }];
      if (options.kind !== 'rclone') return [];
      const remedy = named(`archive.backends.${name}.rclone`);
      return [{ command: options.rclone, why, version: ['version'], oldest: '1.53', remedy }];
    }),
    ...(fixity.alarm === null
      ? []
      : [
          {
            command: fixity.alarm[0] ?? '',
            why: 'fixity.alarm',
            version: null,
            remedy: named('fixity.alarm'),
          },
        ]),
  ];
}

/** @param seconds of each program; the area's own time is longer */
export async function* toolFindings(config: Config): AsyncGenerator<Finding> {
  const seconds = config.doctor.answer_seconds * 0.8;
  // FastQC takes seconds to start Java: all at once, told in the order of the list.
  const asked = toolsOf(config).map((tool) => judgeTool(tool, seconds));
  for (const one of asked) yield await one;
  yield* taskFindings(config);
}

function taskFindings(config: Config): Finding[] {
  const expected = 'every task that workflow_registry names has its file';
  const missing = missingTasks(config);
  if (missing.length === 0) return [ok('tools.task', { seen: 'all are there', expected })];
  const remedy = 'Correct the name, or add the file (workers/tasks/, LONGSHORE_TASKS_PATH).';
  return missing.map(({ key, message }) =>
    problem('tools.task', { subject: key, seen: message, expected, remedy }),
  );
}

export async function judgeTool(tool: Tool, seconds: number): Promise<Finding> {
  const { command, why, version, oldest, remedy } = tool;
  const words = {
    subject: command,
    expected: `${oldest === undefined ? 'found' : `${oldest} or newer`}; ${why}`,
  };
  const path = whereIs(command);
  if (path === null) return problem('tools.program', { ...words, seen: 'not found on PATH', remedy });
  if (version === null) return ok('tools.program', { ...words, seen: path });
  const said = await ask(path, version, seconds);
  if (said === null)
    return problem('tools.program', {
      ...words,
      seen: `${path} does not run: it fails or says nothing for ${seconds} s`,
      remedy: `Run it by hand: ${command} ${version.join(' ')}`,
    });
  const old = oldest !== undefined && compareVersions(said, oldest) < 0;
  return finding(old ? 'problem' : 'ok', 'tools.program', { ...words, seen: `${said} (${path})`, remedy });
}

/** The first line with a number in it; null when the program fails, or does not end. */
function ask(path: string, args: readonly string[], seconds: number): Promise<string | null> {
  return new Promise((resolve) => {
    const child = spawn(path, [...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: environmentFor(),
      timeout: seconds * 1000,
      killSignal: 'SIGKILL',
    });
    let text = '';
    const take = (chunk: Buffer): void => {
      if (text.length < 8192) text += chunk.toString();
    };
    child.stdout.on('data', take);
    child.stderr.on('data', take);
    child.once('error', () => resolve(null));
    child.once('close', (code) => {
      const line = text.split('\n').find((one) => /\d/.test(one));
      resolve(code === 0 ? (line ?? text.split('\n')[0] ?? '').trim().slice(0, 60) || 'no version' : null);
    });
  });
}
