/**
 * Commands in texts stand as `longshore show 17`, `pm2 start ecosystem.config.js` and `node scripts/scrub.ts`. In a terminal that is what one copies, and
 * there it needs `npx`: it finds `longshore` and `pm2`, which npm puts into no PATH, and the Node of this checkout, where the
 * system's own is too old for TypeScript.
 */
const COMMAND =
  /(?<=^|[\s`(:])(?<!\bnpx )(longshore (?=[a-z<])|pm2 (?=start ecosystem)|node (?=(?:scripts|workers)\/))/gm;

export const asTyped = (text: string): string => text.replaceAll(COMMAND, 'npx $1');
