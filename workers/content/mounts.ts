import { readFileSync } from 'node:fs';

/** A mounted file system, as the kernel lists it: known without asking the file system itself, which may be away. */
export interface Mount {
  readonly point: string;
  readonly type: string;
  /** Of the mount and of its file system. */
  readonly options: ReadonlySet<string>;
  readonly device: string;
}

export const readMounts = (): Mount[] => parseMounts(readFileSync('/proc/self/mountinfo', 'utf8'));

/** See proc_pid_mountinfo(5); blanks in paths stand there as octal numbers. */
export function parseMounts(text: string): Mount[] {
  return text.split('\n').flatMap((line) => {
    const [left, right] = line.split(' - ');
    const [, , device, , point, own] = (left ?? '').split(' ');
    const [type, , shared] = (right ?? '').split(' ');
    if (device === undefined || point === undefined || type === undefined) return [];
    const options = new Set([...(own ?? '').split(','), ...(shared ?? '').split(',')]);
    return [{ point: unescaped(point), type, options, device }];
  });
}

const unescaped = (text: string): string =>
  text.replaceAll(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));

/** The mount that a path lies on, by its text alone; of several at one point the last one hides the others. */
export function mountOf(path: string, mounts: readonly Mount[]): Mount | null {
  let best: Mount | null = null;
  for (const mount of mounts) {
    const inside = mount.point === '/' || path === mount.point || path.startsWith(`${mount.point}/`);
    if (inside && mount.point.length >= (best?.point.length ?? 0)) best = mount;
  }
  return best;
}

const FAR = /^(nfs|cifs|smb|fuse|lustre|ceph|glusterfs|gpfs|beegfs|9p|afs)/;

/** Shared with other hosts, or served by a process: no memory is shared through it. */
export const isFar = (type: string): boolean => FAR.test(type);
