export type Values = Readonly<Record<string, string | undefined>>;

/**
 * Values that come from the environment. They stay marked until the layers are merged, so that
 * `npm run config` can say where each value came from and which ones are secret.
 */
export class EnvValue {
  readonly variable: string;
  readonly fallback: unknown;
  readonly secret: boolean;

  constructor(variable: string, options: { fallback?: unknown; secret?: boolean }) {
    this.variable = variable;
    this.fallback = options.fallback;
    this.secret = options.secret ?? false;
  }

  /** What the environment has for it, and under which name; an empty text is nothing. */
  read(values: Values): { variable: string; text: string } | undefined {
    const text = values[this.variable];
    return text === undefined || text === '' ? undefined : { variable: this.variable, text };
  }
}

/** The variable's text, or the fallback. Without a fallback the variable is required. */
export const fromEnv = (variable: string, fallback?: unknown): EnvValue =>
  new EnvValue(variable, { fallback });

/** As {@link fromEnv}, and never printed. */
export const secretFromEnv = (variable: string, fallback?: unknown): EnvValue =>
  new EnvValue(variable, { fallback, secret: true });
