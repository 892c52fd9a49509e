import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { expect, test } from 'vitest';
import { NO_PRESSURE, readPressure } from '../../workers/fleet/scaling/pressure.ts';
import { makePlace } from '../support/place.ts';

async function kernel(files: Record<string, string>) {
  const place = await makePlace();
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(place.path(name)), { recursive: true });
    writeFileSync(place.path(name), text);
  }
  return readPressure({ proc: place.path('proc'), cgroup: place.path('cgroup') });
}

const psi = (some: number, full: number): string =>
  `some avg10=${some} avg60=1.00 avg300=0.50 total=1\nfull avg10=${full} avg60=1.00 avg300=0.50 total=1\n`;
const meminfo = 'MemTotal:       1000 kB\nMemFree:         100 kB\nMemAvailable:    600 kB\n';

test('a host without cgroups: stalls of /proc/pressure, memory of MemAvailable', async () => {
  const seen = await kernel({
    'proc/pressure/cpu': psi(81.5, 0),
    'proc/pressure/io': psi(50, 12.25),
    'proc/pressure/memory': psi(9, 3),
    'proc/meminfo': meminfo,
  });
  expect(seen).toEqual({ cpu: 81.5, io: 12.25, memory_stall: 3, memory_used: 40 });
});

test('a limit of cgroup v2 at any level above counts, without the page cache that can be dropped', async () => {
  const seen = await kernel({
    'proc/meminfo': meminfo,
    'proc/self/cgroup': '0::/fleet/worker\n',
    'cgroup/fleet/memory.current': '1000\n',
    'cgroup/fleet/memory.max': '1000\n',
    'cgroup/fleet/memory.stat':
      'anon 700\nfile 300\nactive_file 100\ninactive_file 150\nslab_reclaimable 50\n',
    'cgroup/fleet/worker/memory.current': '900\n',
    'cgroup/fleet/worker/memory.max': 'max\n',
    'cgroup/fleet/worker/memory.pressure': psi(20, 33),
    'proc/pressure/memory': psi(1, 1),
  });
  expect(seen.memory_used).toBe(70);
  expect(seen.memory_stall).toBe(33);
});

test('a limit of cgroup v1 counts, children included, and its "no limit" is none', async () => {
  const group = '9:name=systemd:/\n4:memory:/job\n0::/\n';
  const stat = 'inactive_file 0\ntotal_inactive_file 100\ntotal_active_file 100\n';
  const limited = await kernel({
    'proc/self/cgroup': group,
    'cgroup/memory/job/memory.usage_in_bytes': '1000\n',
    'cgroup/memory/job/memory.limit_in_bytes': '1000\n',
    'cgroup/memory/job/memory.stat': stat,
  });
  expect(limited.memory_used).toBe(80);
  const free = await kernel({
    'proc/self/cgroup': group,
    'cgroup/memory/job/memory.usage_in_bytes': '1000\n',
    'cgroup/memory/job/memory.limit_in_bytes': '9223372036854771712\n',
  });
  expect(free.memory_used).toBeNull();
});

test('in a container its own limit stands at the root, whatever the path is called outside', async () => {
  const namespaced = await kernel({
    'proc/self/cgroup': '0::/\n',
    'cgroup/memory.current': '800\n',
    'cgroup/memory.max': '1000\n',
    'cgroup/memory.stat': 'active_file 100\n',
    'cgroup/memory.pressure': psi(20, 33),
  });
  expect(namespaced).toMatchObject({ memory_used: 70, memory_stall: 33 });
  const mounted = await kernel({
    'proc/self/cgroup': '4:memory:/docker/0123\n',
    'cgroup/memory/memory.usage_in_bytes': '800\n',
    'cgroup/memory/memory.limit_in_bytes': '1000\n',
    'cgroup/memory/memory.stat': 'total_active_file 100\n',
  });
  expect(mounted.memory_used).toBe(70);
});

test('of a host with both versions the path of each is its own', async () => {
  const seen = await kernel({
    'proc/self/cgroup': '9:name=systemd:/systemd\n4:memory:/job\n0::/unified\n',
    'cgroup/systemd/io.pressure': psi(50, 50),
    'cgroup/unified/io.pressure': psi(20, 10),
    'cgroup/memory/job/memory.usage_in_bytes': '500\n',
    'cgroup/memory/job/memory.limit_in_bytes': '1000\n',
  });
  expect(seen).toMatchObject({ io: 10, memory_used: 50 });
});

test('a kernel that tells nothing is under no pressure', async () => {
  expect(await kernel({})).toEqual(NO_PRESSURE);
});

test('this host tells its memory', () => {
  expect(readPressure().memory_used).toBeGreaterThan(0);
});
