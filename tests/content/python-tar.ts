/** Takes bundles as they are: links that lead outside are in a tree, as in any dataset. Python before 3.11.4 has no filters. */
const EXTRACT = `
import sys, tarfile
trusted = {'filter': 'fully_trusted'} if hasattr(tarfile, 'fully_trusted_filter') else {}
tarfile.open(sys.argv[1]).extractall(sys.argv[2], numeric_owner=True, **trusted)
`;

/** Arguments for `python3`. */
export const pythonExtracts = (bundle: string, target: string): string[] => ['-c', EXTRACT, bundle, target];
