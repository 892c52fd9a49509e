// Exit 0 when node_modules holds what package-lock.json asks for. Runs under any Node, before anything is installed.
const { readFileSync } = require('node:fs');
const { join } = require('node:path');

const root = process.argv[2];
const read = (...parts) => JSON.parse(readFileSync(join(root, ...parts), 'utf8')).packages;

const wanted = read('package-lock.json');
const installed = read('node_modules', '.package-lock.json');

// An optional package may be absent: it is for another platform, or its own build failed.
const stale = Object.entries(wanted).filter(([path, { version, optional }]) => {
  if (path === '') return false;
  const found = installed[path];
  return found === undefined ? !optional : found.version !== version;
});
process.exit(stale.length === 0 ? 0 : 1);
