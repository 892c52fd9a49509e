import { dirname } from 'node:path';
import { archivePathOf } from '../../workers/dataset/paths.ts';
import type { Dataset } from '../../workers/dataset/types.ts';
import type { Place } from './place.ts';

/**
 * The stand-in of `hsi` in `hpss` has the folder that the bundle comes to. On an empty tape each question looks for the
 * nearest folder above, up to the root: a run of hsi for each.
 */
export const tapeInUse = (place: Place, dataset: Dataset): void =>
  void place.dir('hpss/files', dirname(archivePathOf(place.config, dataset)));
