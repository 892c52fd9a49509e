/** How hard it is for this host, and for the cgroup that this worker lives in, to give what its tasks ask for. */
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

export interface Pressure {
  /** Percentage of the last 10 s in which something waited for a processor; null where the kernel does not tell. */
  readonly cpu: number | null;
  /** …in which nothing got on, because all of it waited for a disk. */
  readonly io: number | null;
  /** …in which nothing got on, because memory had to be freed first. */
  readonly memory_stall: number | null;
  /** Memory that is taken and cannot be freed at once, in percent of what there may be. */
  readonly memory_used: number | null;
}

export const NO_PRESSURE: Pressure = { cpu: null, io: null, memory_stall: null, memory_used: null };

/** Where the kernel tells; tests have their own. */
export interface PressureRoots {
  readonly proc: string;
  readonly cgroup: string;
}

const ROOTS: PressureRoots = { proc: '/proc', cgroup: '/sys/fs/cgroup' };

/**
 * The worst of what the host and the cgroups around this process say: a container may be short of memory on an idle
 * host, and be well within its limit on a host that is about to run out. Ten small files, 0.3 ms; reading them
 * blocks no disk.
 */
export function readPressure({ proc, cgroup }: PressureRoots = ROOTS): Pressure {
  const groups = parseCgroups(read(join(proc, 'self/cgroup')));
  const unified = groups.unified === null ? [] : ancestors(cgroup, groups.unified);
  const stall = (resource: string, kind: 'some' | 'full'): number | null =>
    worst([
      stallOf(read(join(proc, 'pressure', resource)), kind),
      ...unified.map((folder) => stallOf(read(join(folder, `${resource}.pressure`)), kind)),
    ]);
  return {
    cpu: stall('cpu', 'some'),
    io: stall('io', 'full'),
    memory_stall: stall('memory', 'full'),
    memory_used: worst([
      usedOfHost(read(join(proc, 'meminfo'))),
      ...unified.map((folder) =>
        usedOfGroup(
          read(join(folder, 'memory.current')),
          read(join(folder, 'memory.max')),
          read(join(folder, 'memory.stat')),
        ),
      ),
      ...(groups.memory === null ? [] : ancestors(join(cgroup, 'memory'), groups.memory)).map((folder) =>
        usedOfGroup(
          read(join(folder, 'memory.usage_in_bytes')),
          read(join(folder, 'memory.limit_in_bytes')),
          read(join(folder, 'memory.stat')),
        ),
      ),
    ]),
  };
}

/** `some avg10=12.34 avg60=…` → 12.34 (Documentation/accounting/psi.rst). */
export function stallOf(text: string | null, kind: 'some' | 'full'): number | null {
  const found = new RegExp(`^${kind} avg10=([0-9.]+)`, 'm').exec(text ?? '')?.[1];
  return found === undefined ? null : Number(found);
}

/** MemAvailable is the kernel's own estimate of what could be had without swapping. */
export function usedOfHost(meminfo: string | null): number | null {
  const total = fieldOf(meminfo, /^MemTotal:\s+(\d+)/m);
  const available = fieldOf(meminfo, /^MemAvailable:\s+(\d+)/m);
  return total === null || available === null || total === 0 ? null : 100 * (1 - available / total);
}

/**
 * The page cache counts as usage of a cgroup, so that copying files alone drives it to its limit; what the kernel
 * can drop is taken off, as it does itself for MemAvailable. Null without a limit (`max`, or the huge number of v1).
 */
export function usedOfGroup(usage: string | null, limit: string | null, stat: string | null): number | null {
  const most = fieldOf(limit, /^(\d+)/);
  const used = fieldOf(usage, /^(\d+)/);
  if (most === null || used === null || most === 0 || most > 2 ** 60) return null;
  const droppable = ['inactive_file', 'active_file', 'slab_reclaimable'].reduce(
    (sum, name) => sum + (statOf(stat, name) ?? 0),
    0,
  );
  return (100 * Math.max(0, used - droppable)) / most;
}

/** v1 counts children only under `total_…`. */
const statOf = (stat: string | null, name: string): number | null =>
  fieldOf(stat, new RegExp(`^total_${name} (\\d+)`, 'm')) ??
  fieldOf(stat, new RegExp(`^${name} (\\d+)`, 'm'));

/** `0::/a/b` is the unified hierarchy, `4:memory:/a/b` the memory controller of v1; a host may have both. */
export function parseCgroups(text: string | null): { unified: string | null; memory: string | null } {
  const lines = (text ?? '').split('\n').map((line) => /^\d+:([^:]*):(.*)$/.exec(line));
  const pathOf = (wanted: (controllers: string[]) => boolean): string | null =>
    lines.find((line) => line !== null && wanted((line[1] ?? '').split(',')))?.[2] ?? null;
  return {
    unified: pathOf(([only]) => only === ''),
    memory: pathOf((controllers) => controllers.includes('memory')),
  };
}

/** A limit may stand at any level above. In a container the path may name folders that it does not see. */
function ancestors(root: string, path: string): string[] {
  const folders = [root];
  for (let at = path; at !== '/' && at !== '.' && at !== ''; at = dirname(at)) folders.push(join(root, at));
  return folders;
}

function fieldOf(text: string | null, pattern: RegExp): number | null {
  const found = pattern.exec(text ?? '')?.[1];
  return found === undefined ? null : Number(found);
}

function worst(values: readonly (number | null)[]): number | null {
  const told = values.filter((value) => value !== null);
  return told.length === 0 ? null : Math.max(...told);
}

function read(path: string): string | null {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return null; // This kernel, or this level, does not tell.
  }
}
