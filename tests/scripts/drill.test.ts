import { existsSync, readdirSync } from 'node:fs';
import { expect, test } from 'vitest';
import { makePlace } from '../support/place.ts';
import { processesWith } from '../support/processes.ts';
import { runScript } from '../support/script.ts';
import { onTerminal } from '../support/terminal.ts';

test('the drill survives its faults on a fleet of its own, and leaves nothing', {
  timeout: 600_000,
}, async () => {
  // The policy of the site, for one of its types: the drill must not write to that archive.
  const place = await makePlace({
    archive: {
      types: { RAW_DATA: ['vault'] },
      backends: { vault: { kind: 'filesystem', root: '/nowhere/at/all', mark: 'required' } },
    },
  });
  const { code, stdout, stderr } = await runScript('longshore.ts', ['drill', '--json'], place.env);
  const answer = JSON.parse(stdout) as { passed: boolean; faults: { name: string; passed: boolean }[] };
  expect(answer, stderr).toMatchObject({ passed: true, evidence: null });
  expect(answer.faults.map(({ name }) => name)).toEqual([
    'worker-kill',
    'child-kill',
    'redis-restart',
    'half-open',
    'vanished-mount',
    'full-disk',
  ]);
  expect(code).toBe(0);
  expect(readdirSync(place.config.paths.scratch)).toEqual([]);
  expect(existsSync(place.config.catalog.path)).toBe(false);
});

test('Ctrl-C ends its fleet, says so, and leaves nothing', async () => {
  const place = await makePlace();
  const { code, text } = await onTerminal('longshore.ts', ['drill', '--only', 'worker-kill'], place.env, {
    after: 'drilling below',
    type: '\u0003',
  });
  expect(text).toContain('stopping the fleet of the drill');
  expect(text).toMatch(/E_REVOKED: the drill was stopped by SIGINT; nothing of it runs any more/);
  expect(code).toBe(130);
  expect(readdirSync(place.config.paths.scratch)).toEqual([]);
  expect(processesWith(place.folder)).toEqual([]);
});

test('an unknown fault is refused, and --list does nothing', async () => {
  const place = await makePlace();
  expect((await runScript('longshore.ts', ['drill', '--only', 'flood'], place.env)).code).toBe(2);
  const listed = await runScript('longshore.ts', ['drill', '--list'], place.env);
  expect(listed.stdout).toContain('worker-kill: kill -9');
  expect(existsSync(place.config.paths.scratch)).toBe(false);
});
