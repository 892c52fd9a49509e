import { expect, test } from 'vitest';
import { asTyped } from '../../scripts/cli/typed.ts';
import { openStore } from '../../workers/store.ts';
import { makePlace } from '../support/place.ts';
import { runScript } from '../support/script.ts';

test('commands in texts are printed as a terminal takes them', () => {
  expect(asTyped('Free room (longshore purge), then `longshore resume <id>`.')).toBe(
    'Free room (npx longshore purge), then `npx longshore resume <id>`.',
  );
  expect(asTyped('WORKER_TYPE=watch node scripts/entrypoint.ts')).toBe(
    'WORKER_TYPE=watch npx node scripts/entrypoint.ts',
  );
  expect(asTyped('`npm start` (or `pm2 start ecosystem.config.js`)')).toBe(
    '`npm start` (or `npx pm2 start ecosystem.config.js`)',
  );
  const kept =
    'npx longshore show 17, npx node scripts/scrub.ts, /opt/longshore data, Longshore node, pm2 starts it';
  expect(asTyped(kept)).toBe(kept);
});

test('help and hints name commands that work as they stand there', async () => {
  const { config, env } = await makePlace();
  await (await openStore(config)).close();
  const [show, scrub, missing] = await Promise.all([
    runScript('longshore.ts', ['show', '--help'], {}),
    runScript('scrub.ts', ['--help'], {}),
    runScript('longshore.ts', ['show', '00000000-0000-0000-0000-000000000000'], env),
  ]);
  expect(show.stdout).toMatch(/^Usage: npx longshore show /);
  expect(show.stdout).toContain('\n  npx longshore show 17\n');
  expect(scrub.stdout).toContain('\n  npx node scripts/scrub.ts --dry-run\n');
  expect(missing).toMatchObject({ code: 3, stderr: expect.stringContaining('`npx longshore workflows`') });
});
