/** Folders that Longshore itself writes: what it makes there is no dataset, and would be put into its own bundle. */
import { type PlaceOfKey, writtenPlaces } from '../../config/places.ts';
import type { Config } from '../../config/schema.ts';
import { isBelow, resolved } from '../../workers/dataset/paths.ts';
import { LongshoreError } from '../../workers/errors.ts';

/** Homes of folders of people's own as well (sources, and whatever lies beside them); scratch is for everybody. */
const HOMES: ReadonlySet<string> = new Set(['state_dir', 'catalog.path', 'paths.scratch']);

/**
 * The one registered here may lie neither above nor below such a place.
 *
 * @param folder its real path
 * @throws E_USAGE
 */
export function refuseOwn(config: Config, folder: string): void {
  // Archives of years gone by are found by the years that the path names.
  const years = [new Date().getFullYear(), ...(folder.match(/\d{4}/g) ?? []).map(Number)];
  const places = years
    .flatMap((year) => writtenPlaces(config, year))
    .map((place) => ({ ...place, path: resolved(place.path) }));
  const inside = places.find(({ path }) => path === folder || isBelow(folder, path));
  if (inside !== undefined) throw ownPlace(folder, 'holds', inside);
  const around = places.find(({ key, path }) => !HOMES.has(key) && isBelow(path, folder));
  if (around !== undefined) throw ownPlace(folder, 'lies in', around);
}

function ownPlace(folder: string, how: string, { key, path }: PlaceOfKey): LongshoreError {
  return new LongshoreError(
    'E_USAGE',
    `${folder} ${path === folder ? 'is' : how} what Longshore writes itself: ${key} (${path})`,
    { fields: { folder, key, path }, hint: 'Register the folders of the datasets themselves.' },
  );
}
