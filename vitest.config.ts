import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { defineConfig } from 'vitest/config';

// What a developer has exported for a fleet of his own must not reach the suite; what says how it is run stays.
const OF_THE_SUITE = /_TEST_|^LOG_|^MONGODB_URL$/;
for (const [, name = ''] of readFileSync(join(import.meta.dirname, '.env.example'), 'utf8').matchAll(
  /^(?:# ?)?([A-Z_]+)=/gm,
))
  if (!OF_THE_SUITE.test(name)) delete process.env[name];

export default defineConfig({
  test: {
    include: ['tests/**/*.test.ts'],
    globalSetup: ['tests/support/services.ts'],
    reporters: ['default', './tests/support/reporter.ts'],
    testTimeout: 180_000,
    hookTimeout: 180_000,
    pool: 'forks',
    // Tests wait for timers, processes and disks more than they compute; one at a time on two cores takes 8 minutes.
    maxWorkers: Math.max(3, availableParallelism()),
    // A developer's .env must not reach the suite: its values beat the environment that a test sets.
    env: {
      APP_ENV: 'test',
      LONGSHORE_DOTENV: 'none',
      LOG_LEVEL: process.env.LOG_LEVEL ?? 'warn',
      // One for all places of the suite, else each of its thousands of processes compiles and strips everything anew.
      NODE_COMPILE_CACHE: join(import.meta.dirname, 'var/cache/node'),
    },
  },
});
