import type { Config } from '../../config/index.ts';
import { backendsInUse } from './archives.ts';
import { type Finding, problem, warning } from './finding.ts';
import { usedMounts } from './paths.ts';

/** What is looked at in one process of its own, with a time of its own. */
export interface Area {
  readonly name: (typeof AREA_NAMES)[number];
  /** Which mount, which archive. */
  readonly subject: string | null;
  readonly seconds: number;
  /** Told when its time has run out. */
  readonly late: Finding;
}

export const AREA_NAMES = [
  'host',
  'redis',
  'catalog',
  'integrity',
  'recorded',
  'api',
  'paths',
  'quotas',
  'tools',
  'archives',
  'round-trip',
] as const;

/** A tape has to be mounted for it. */
const ROUND_TRIP_SECONDS = 900;

/** In the order in which they are shown. Touches nothing that may hang. */
export function areasOf(config: Config, { roundTrip }: { roundTrip: boolean }): Area[] {
  const seconds = config.doctor.answer_seconds;
  const one = (name: Area['name'], subject: string | null = null, time = seconds): Area => ({
    name,
    subject,
    seconds: time,
    late: lateFinding(name, subject, time),
  });
  const archives = backendsInUse(config).map(({ name }) => name);
  return [
    one('host'),
    one('redis'),
    one('catalog'),
    one('integrity'),
    one('recorded'),
    ...(config.catalog.backend === 'rest' ? [one('api')] : []),
    ...usedMounts(config).map((point) => one('paths', point)),
    one('quotas'),
    one('tools'),
    ...archives.map((name) => one('archives', name)),
    ...(roundTrip ? archives.map((name) => one('round-trip', name, ROUND_TRIP_SECONDS)) : []),
  ];
}

function lateFinding(name: Area['name'], subject: string | null, seconds: number): Finding {
  const words = {
    ...(subject === null ? {} : { subject }),
    seen: `no answer in ${seconds} s`,
    expected: `an answer in ${seconds} s${name === 'round-trip' ? '' : ' (doctor.answer_seconds)'}`,
  };
  // A large catalog is no fault of anybody.
  if (name === 'integrity')
    return warning('catalog.integrity', {
      ...words,
      seen: `not read to its end in ${seconds} s`,
      remedy:
        'Raise doctor.answer_seconds, or run it by hand at a quiet time: sqlite3 FILE "pragma quick_check".',
    });
  return problem(`${name}.answer`, {
    ...words,
    remedy: REMEDIES[name] ?? 'Look at what the last finding of this area names.',
  });
}

const REMEDIES: Partial<Record<Area['name'], string>> = {
  paths:
    'The mount hangs: see whether its server is up (showmount, dmesg), then remount it (umount -l, mount).',
  archives:
    'The archive hangs: see whether its mount or its server is up. Work that needs it waits until then.',
  'round-trip':
    'The archive hangs: see whether its mount or its server is up. An object of the doctor may be left there; the next round trip replaces and removes it.',
  redis: 'Redis takes connections and does not answer: look at its process and at the network between.',
  api: 'The API takes connections and does not answer: look at its process and its database.',
  catalog: 'The file system of catalog.path hangs, or a process holds the file: see who with fuser.',
};
