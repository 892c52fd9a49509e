import type { Catalog } from '../../catalog/contract.ts';

/** A catalog whose every write first proves that this attempt still owns its job; reads go through. */
export function guardCatalog(catalog: Catalog, assert: () => Promise<void>): Catalog {
  const guarded =
    <A extends unknown[], R>(write: (...args: A) => Promise<R>) =>
    async (...args: A): Promise<R> => {
      await assert();
      return write(...args);
    };
  return {
    capabilities: catalog.capabilities,
    get: (...args) => catalog.get(...args),
    list: (...args) => catalog.list(...args),
    states: (...args) => catalog.states(...args),
    files: (...args) => catalog.files(...args),
    filesAt: (...args) => catalog.filesAt(...args),
    countFiles: (...args) => catalog.countFiles(...args),
    report: (...args) => catalog.report(...args),
    copies: (...args) => catalog.copies(...args),
    leastProven: (...args) => catalog.leastProven(...args),
    withoutCopies: (...args) => catalog.withoutCopies(...args),
    fixity: (...args) => catalog.fixity(...args),
    holdings: () => catalog.holdings(),
    proofs: (...args) => catalog.proofs(...args),
    register: guarded((...args: Parameters<Catalog['register']>) => catalog.register(...args)),
    attachWorkflow: guarded((...args: Parameters<Catalog['attachWorkflow']>) =>
      catalog.attachWorkflow(...args),
    ),
    patch: guarded((...args: Parameters<Catalog['patch']>) => catalog.patch(...args)),
    addState: guarded((...args: Parameters<Catalog['addState']>) => catalog.addState(...args)),
    putFiles: guarded((...args: Parameters<Catalog['putFiles']>) => catalog.putFiles(...args)),
    sweepFiles: guarded((...args: Parameters<Catalog['sweepFiles']>) => catalog.sweepFiles(...args)),
    putReport: guarded((...args: Parameters<Catalog['putReport']>) => catalog.putReport(...args)),
    putCopy: guarded((...args: Parameters<Catalog['putCopy']>) => catalog.putCopy(...args)),
    removeCopy: guarded((...args: Parameters<Catalog['removeCopy']>) => catalog.removeCopy(...args)),
    addProof: guarded((...args: Parameters<Catalog['addProof']>) => catalog.addProof(...args)),
    close: () => catalog.close(),
  };
}
