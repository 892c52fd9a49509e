/**
 * Every command of `longshore`, and the file that has it. Only the one that was asked for is loaded: all of them with
 * what they need (AWS, BullMQ, fastify) take a second of the processor, one takes a third of that.
 */
import type { Command } from 'commander';
import type { Tool } from './tool.ts';

type Add = (program: Command) => void;

export interface CommandFile {
  readonly names: readonly string[];
  load(): Promise<Add>;
}

const tool = async (it: Tool): Promise<Add> => {
  const { addTool } = await import('./tool.ts');
  return (program) => addTool(program, it);
};

/** In the order of `longshore --help`. */
export const COMMAND_FILES: readonly CommandFile[] = [
  { names: ['status'], load: async () => (await import('./commands/status.ts')).addStatus },
  {
    names: ['datasets', 'workflows', 'tasks'],
    load: async () => (await import('./commands/lists.ts')).addLists,
  },
  { names: ['show', 'logs'], load: async () => (await import('./commands/show.ts')).addShow },
  {
    names: ['pause', 'revoke', 'resume'],
    load: async () => (await import('./commands/control.ts')).addControl,
  },
  { names: ['prioritize'], load: async () => (await import('./commands/prioritize.ts')).addPrioritize },
  {
    names: ['stage', 'archive', 'purge', 'qc', 'delete', 'start'],
    load: async () => (await import('./commands/start.ts')).addStart,
  },
  { names: ['recall'], load: async () => (await import('./commands/recall.ts')).addRecall },
  { names: ['manifest'], load: async () => (await import('./commands/manifest.ts')).addManifest },
  { names: ['verify'], load: async () => (await import('./commands/verify.ts')).addVerify },
  { names: ['fixity'], load: async () => (await import('./commands/fixity.ts')).addFixity },
  { names: ['write-off'], load: async () => (await import('./commands/write-off.ts')).addWriteOff },
  { names: ['pin', 'unpin'], load: async () => (await import('./commands/pin.ts')).addPin },
  { names: ['fleet', 'ping', 'active'], load: async () => (await import('./commands/fleet.ts')).addFleet },
  { names: ['cancel'], load: async () => (await import('./commands/cancel.ts')).addCancel },
  {
    names: ['grow', 'shrink', 'shutdown', 'pause-queue', 'resume-queue'],
    load: async () => (await import('./commands/steer.ts')).addSteer,
  },
  { names: ['drain', 'undrain'], load: async () => (await import('./commands/drain.ts')).addDrain },
  { names: ['scale'], load: async () => (await import('./commands/scale.ts')).addScale },
  { names: ['limits'], load: async () => (await import('./commands/limits.ts')).addLimits },
  { names: ['doctor'], load: async () => (await import('./commands/doctor.ts')).addDoctor },
  { names: ['config'], load: async () => tool((await import('./commands/config.ts')).configTool) },
  { names: ['drill'], load: async () => (await import('./commands/drill.ts')).addDrill },
  { names: ['schedules'], load: async () => (await import('./commands/schedules.ts')).addSchedules },
  { names: ['gateway'], load: async () => (await import('./commands/gateway.ts')).addGateway },
  { names: ['token'], load: async () => (await import('./commands/token.ts')).addToken },
  { names: ['metrics'], load: async () => tool((await import('./commands/metrics.ts')).metricsTool) },
  {
    names: ['populate-bundles'],
    load: async () => tool((await import('./commands/populate-bundles.ts')).populateBundlesTool),
  },
  { names: ['adopt'], load: async () => (await import('./commands/adopt.ts')).addAdopt },
  {
    names: ['raise-alarms'],
    load: async () => tool((await import('./commands/raise-alarms.ts')).raiseAlarmsTool),
  },
  { names: ['reconcile'], load: async () => tool((await import('./commands/reconcile.ts')).reconcileTool) },
  {
    names: ['purge-stale-workflows'],
    load: async () => tool((await import('./commands/purge-stale-workflows.ts')).purgeStaleWorkflowsTool),
  },
  {
    names: ['delete-queue'],
    load: async () => tool((await import('./commands/delete-queue.ts')).deleteQueueTool),
  },
  { names: ['setup-dirs'], load: async () => tool((await import('./commands/setup-dirs.ts')).setupDirsTool) },
];

/** Adds the command that these words ask for; all of them where they ask for none, for help say, or for one there is not. */
export async function addCommands(program: Command, words: readonly string[]): Promise<void> {
  if (words[0] === '--version') return;
  const asked = COMMAND_FILES.find(({ names }) => names.includes(words[0] ?? ''));
  const files = asked === undefined ? COMMAND_FILES : [asked];
  for (const add of await Promise.all(files.map((file) => file.load()))) add(program);
}
