import { apiProblems } from './api.ts';
import { type Filled, isSecret, type Origin } from './fill.ts';
import { isPlainObject } from './layers.ts';
import { storeProblems } from './mongodb.ts';

type Issue = { code: string; path: PropertyKey[]; message: string; keys?: string[] };

/** The schema's findings as `key: what was expected, got … (where it came from)`; secrets stay hidden. */
export function describeIssue(issue: Issue, { values, origins, secrets }: Filled): string[] {
  const key = issue.path.join('.');
  if (issue.code === 'unrecognized_keys') {
    return (issue.keys ?? []).map(
      (name) => `${[key, name].filter(Boolean).join('.')}: unknown key; see config/schema.ts for what exists`,
    );
  }
  const origin = originOf(key, origins);
  const value = valueAt(values, issue.path);
  const shown = isSecret(key, secrets) ? '[hidden]' : hideCredentials(JSON.stringify(value) ?? '');
  const got = value === undefined ? '' : `, got ${shown}`;
  return [`${key}: ${issue.message}${got}${origin === undefined ? '' : ` (${origin.layer})`}`];
}

/** What the schema cannot say: every type has its folders and sources, every workflow that is named exists. */
export function findContradictions(values: Record<string, unknown>): string[] {
  return [
    ...typeProblems(values),
    ...archiveProblems(values),
    ...fixityProblems(values),
    ...purgeProblems(values),
    ...workflowProblems(values),
    ...resourceProblems(values),
    ...storeProblems(values),
    ...apiProblems(values),
  ];
}

/**
 * `redis://user:password@host` may be configured as one text; only the host is of interest. Up to the last `@`: a password
 * with a slash in it, which has to be written otherwise, is one all the same.
 */
export const hideCredentials = (text: string): string =>
  text.replaceAll(/([a-z][a-z0-9+.-]*:\/\/)[^\s"]*@/gi, '$1[hidden]@');

function originOf(key: string, origins: ReadonlyMap<string, Origin>): Origin | undefined {
  for (let at = key; at !== ''; at = at.slice(0, Math.max(0, at.lastIndexOf('.')))) {
    const found = origins.get(at);
    if (found !== undefined) return found;
  }
  return undefined;
}

function valueAt(values: unknown, path: readonly PropertyKey[]): unknown {
  return path.reduce((at: unknown, name) => (at as Record<PropertyKey, unknown> | undefined)?.[name], values);
}

function typeProblems(values: Record<string, unknown>): string[] {
  const types = Array.isArray(values.dataset_types) ? values.dataset_types.map(String) : [];
  return ['paths', 'registration'].flatMap((section) => {
    const folders = sectionOf(values, section);
    const missing = types.filter((type) => !isPlainObject(folders[type]));
    const unknown = Object.keys(folders).filter(
      (name) => isPlainObject(folders[name]) && !types.includes(name),
    );
    return [
      ...missing.map((type) => `${section}.${type}: missing; dataset_types names this type`),
      ...unknown.map((name) => `${section}.${name}: unknown key; dataset_types does not name it`),
    ];
  });
}

/** Every named archive exists; one in a file system without a root of its own needs absolute paths. */
function archiveProblems(values: Record<string, unknown>): string[] {
  const archive = sectionOf(values, 'archive');
  const backends = sectionOf(archive, 'backends');
  const types = sectionOf(archive, 'types');
  const known = Object.keys(backends).join(', ');
  const lists: [string, unknown][] = [
    ['archive.copies', archive.copies],
    ...Object.entries(types).map(([type, names]): [string, unknown] => [`archive.types.${type}`, names]),
  ];
  const unknown = lists.flatMap(([key, names]) =>
    namesIn(names)
      .filter((name) => !isPlainObject(backends[name]))
      .map((name) => `${key}: "${name}" is not in archive.backends (${known})`),
  );
  const declared = Array.isArray(values.dataset_types) ? values.dataset_types.map(String) : [];
  const strange = Object.keys(types)
    .filter((type) => !declared.includes(type))
    .map((type) => `archive.types.${type}: unknown key; dataset_types does not name it`);
  const relative = Object.entries(sectionOf(values, 'paths')).flatMap(([type, folders]) => {
    const path = isPlainObject(folders) ? folders.archive : undefined;
    if (typeof path !== 'string' || path === '' || path.startsWith('/')) return [];
    return namesIn(types[type] ?? archive.copies)
      .filter((name) => needsAbsolute(sectionOf(backends, name)))
      .map(
        (name) =>
          `paths.${type}.archive: expected an absolute path, as archive.backends.${name} is a file system without a root, got "${path}"`,
      );
  });
  return [...unknown, ...strange, ...relative];
}

/** A misspelt archive would be read from tape night by night. */
function fixityProblems(values: Record<string, unknown>): string[] {
  const backends = sectionOf(sectionOf(values, 'archive'), 'backends');
  const known = new Set([...Object.keys(backends), 'filesystem', 'sda', 's3', 'rclone']);
  return Object.keys(sectionOf(sectionOf(values, 'fixity'), 'levels'))
    .filter((name) => !known.has(name))
    .map(
      (name) => `fixity.levels.${name}: neither an archive nor a kind of archive (${[...known].join(', ')})`,
    );
}

/** A lifetime for a type that there is not would leave another type with the general one, unnoticed. */
function purgeProblems(values: Record<string, unknown>): string[] {
  const declared = namesIn(values.dataset_types);
  return Object.keys(sectionOf(sectionOf(sectionOf(values, 'stage'), 'purge'), 'types'))
    .filter((type) => !declared.includes(type))
    .map((type) => `stage.purge.types.${type}: unknown key; dataset_types does not name it`);
}

const namesIn = (names: unknown): string[] => (Array.isArray(names) ? names.map(String) : []);

const needsAbsolute = (backend: Record<string, unknown>): boolean =>
  backend.kind === 'filesystem' && backend.root === undefined;

function workflowProblems(values: Record<string, unknown>): string[] {
  const registry = sectionOf(values, 'workflow_registry');
  const known = Object.keys(registry);
  const references: [string, unknown][] = [
    ['registration.workflow', sectionOf(values, 'registration').workflow],
    ...Object.entries(registry).flatMap(([name, definition]) => {
      const followers = isPlainObject(definition) && Array.isArray(definition.then) ? definition.then : [];
      return followers.map((next, index): [string, unknown] => [
        `workflow_registry.${name}.then.${index}`,
        next,
      ]);
    }),
  ];
  return references
    .filter(([, name]) => typeof name === 'string' && !known.includes(name))
    .map(([key, name]) => `${key}: "${String(name)}" is not in workflow_registry (${known.join(', ')})`);
}

/** A misspelt need would be no limit at all. */
function resourceProblems(values: Record<string, unknown>): string[] {
  const resources = sectionOf(values, 'resources');
  const known = Object.keys(resources).join(', ') || 'it is empty';
  return Object.entries(sectionOf(values, 'workflow_registry')).flatMap(([name, definition]) => {
    const steps = isPlainObject(definition) && Array.isArray(definition.steps) ? definition.steps : [];
    return steps.flatMap((step, index) =>
      namesIn(isPlainObject(step) ? step.needs : undefined)
        .filter((need) => !Object.hasOwn(resources, need))
        .map(
          (need) =>
            `workflow_registry.${name}.steps.${index}.needs: "${need}" is not in resources (${known})`,
        ),
    );
  });
}

const sectionOf = (values: Record<string, unknown>, name: string): Record<string, unknown> => {
  const section = values[name];
  return isPlainObject(section) ? section : {};
};
