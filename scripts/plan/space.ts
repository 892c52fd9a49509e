/** Need and have per file system, for one plan or for several that run at the same time. */
import type { Config } from '../../config/index.ts';
import { spaceOn } from '../../workers/content/space.ts';
import type { Need, Room } from './model.ts';

export function roomsFor(config: Config, needs: readonly Need[]): Room[] {
  const rooms = new Map<string, Room & { folders: string[] }>();
  for (const { folder, bytes } of needs) {
    const { device, ...have } = spaceOn({
      folder,
      keep: config.stage.reserve_bytes,
      state_dir: config.state_dir,
    });
    const known = rooms.get(device);
    const folders = [...new Set([...(known?.folders ?? []), folder])];
    rooms.set(device, { ...have, folders, need: (known?.need ?? 0) + bytes });
  }
  return [...rooms.values()];
}

export const isShort = ({ need, available }: Room): boolean => need > available;
