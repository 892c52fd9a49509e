/** Looks at one area and tells its parent each finding as it comes. Killed with all that it started when it takes too long. */
import { loadConfig } from '../../config/index.ts';
import { findingsOf } from './areas.ts';

// Leader of its own process group: nothing stays when whoever asked is gone.
process.once('disconnect', () => process.kill(-process.pid, 'SIGKILL'));

const [name = '', subject = ''] = process.argv.slice(2);
const { config } = await loadConfig();
for await (const finding of findingsOf(config, name, subject)) process.send?.(finding);
process.disconnect();
process.exit(0);
