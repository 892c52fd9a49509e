import type { Records } from '../records/contract.ts';
import type { ScanMemory } from './scanner.ts';

/** What the scanner of one source remembers, kept with the records. */
export function scanMemory(records: Pick<Records, 'watch' | 'note' | 'setNote'>, source: string): ScanMemory {
  const deviceKey = `watch.device:${source}`;
  return {
    known: () => records.watch.known(source),
    apply: (change) => records.watch.apply(source, change),
    async note() {
      const [scans, device] = await Promise.all([records.watch.counter(source), records.note(deviceKey)]);
      return { scans, device: typeof device === 'string' ? device : null };
    },
    async setNote({ scans, device }) {
      await records.watch.setCounter(source, scans);
      if ((await records.note(deviceKey)) !== device) await records.setNote(deviceKey, device);
    },
  };
}
