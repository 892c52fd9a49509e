import type { Command } from 'commander';
import { type ResourceView, resourceViews } from '../../../workers/queue/waiting-line.ts';
import { ago } from '../format.ts';
import { helpTail, jsonOption } from '../program.ts';
import { printJson, withQueue } from '../session.ts';
import { printTable } from '../table.ts';

/** limits. */
export function addLimits(program: Command): void {
  program
    .command('limits')
    .description('resources that the whole fleet shares: who holds them, and who waits')
    .addOption(jsonOption())
    .addHelpText('after', helpTail(['longshore limits', 'longshore limits --json']))
    .action(({ json = false }: { json?: boolean }) => limits(json));
}

async function limits(json: boolean): Promise<void> {
  const views = await withQueue(({ config, side }) =>
    resourceViews({ redis: side.redis, queues: side.queues, prefix: config.queue.prefix }, config.resources),
  );
  if (json) return printJson({ resources: views });
  if (views.length === 0) {
    process.stdout.write('no limits: config.resources names none\n');
    return;
  }
  printTable<ResourceView>(process.stdout, views, [
    { title: 'RESOURCE', value: ({ resource }) => resource },
    { title: 'HELD', value: ({ held, limit }) => `${held.length} of ${limit}`, align: 'right' },
    { title: 'WAITING', value: ({ waiting }) => waiting.length, align: 'right' },
    { title: 'FIRST IN LINE', value: ({ waiting }) => waiting[0]?.workflow_id },
  ]);
  const holders = views.flatMap(({ resource, held }) => held.map((one) => ({ resource, ...one })));
  if (holders.length > 0) process.stdout.write('\n');
  printTable(process.stdout, holders, [
    { title: 'RESOURCE', value: ({ resource }) => resource },
    { title: 'WORKFLOW', value: ({ workflow_id, holder }) => workflow_id ?? holder },
    { title: 'STEP', value: ({ step }) => step },
    { title: 'WORKER', value: ({ worker }) => worker, shrink: true },
    { title: 'SINCE', value: ({ since }) => ago(since) },
  ]);
}
