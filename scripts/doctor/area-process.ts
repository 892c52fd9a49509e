/** Looks at one area and tells its parent each finding as it comes. Killed with all that it started when it takes too long. */
import { type Config, loadConfig } from '../../config/index.ts';
import type { Area } from './areas.ts';
import type { Finding } from './finding.ts';

// Leader of its own process group: nothing stays when whoever asked is gone.
process.once('disconnect', () => process.kill(-process.pid, 'SIGKILL'));

type Look = (config: Config, subject: string) => AsyncIterable<Finding>;

/** Each is loaded alone: the code of all of them costs each of these processes more than its look does. */
const LOOKS: Readonly<Record<Area['name'], () => Promise<Look>>> = {
  host: async () => (await import('./host.ts')).hostFindings,
  redis: async () => (await import('./redis.ts')).redisFindings,
  catalog: async () => (await import('./catalog.ts')).catalogFindings,
  integrity: async () => (await import('./catalog.ts')).integrityFindings,
  recorded: async () => (await import('./recorded/judge.ts')).recordedFindings,
  api: async () => (await import('./api.ts')).apiFindings,
  paths: async () => (await import('./paths.ts')).mountFindings,
  quotas: async () => (await import('./quotas.ts')).quotaFindings,
  tools: async () => (await import('./tools.ts')).toolFindings,
  archives: async () => (await import('./archives.ts')).reachFindings,
  'round-trip': async () => (await import('./archives.ts')).roundTripFindings,
};

const [name = '', subject = ''] = process.argv.slice(2);
const { config } = await loadConfig();
const look = await LOOKS[name as Area['name']]();
for await (const finding of look(config, subject)) process.send?.(finding);
process.disconnect();
process.exit(0);
