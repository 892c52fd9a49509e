/**
 * Shell globs on one folder name, as the reference (Python's fnmatchcase) reads them: case-sensitive, the whole name,
 * `*` any run of characters (leading dots and newlines included), `?` one character, `[abc]`, `[a-z]`, `[!abc]`;
 * everything else stands for itself.
 *
 * Written out rather than picomatch: whatever its options, that reads `[!a]` as "`!` or `a`", parentheses as a group
 * and lets `*` stop at a newline, so that names would be registered that a site has asked to reject.
 */
export function globToRegExp(glob: string): RegExp {
  let source = '';
  for (let at = 0; at < glob.length; at += 1) {
    const char = glob.charAt(at);
    const end = char === '[' ? classEnd(glob, at) : -1;
    if (char === '*') source += '.*';
    else if (char === '?') source += '.';
    else if (end > 0) {
      source += classSource(glob.slice(at + 1, end));
      at = end;
    } else source += char.replace(/[\\^$.*+?()[\]{}|/]/, String.raw`\$&`);
  }
  return new RegExp(`^(?:${source})$`, 'su');
}

/** A test of names against several globs. */
export function matcher(globs: readonly string[]): (name: string) => boolean {
  const patterns = globs.map(globToRegExp);
  return (name) => patterns.some((pattern) => pattern.test(name));
}

/** Position of the `]` that closes the class, or -1: an unclosed `[` stands for itself. A first `]` is a member. */
function classEnd(glob: string, start: number): number {
  const first = glob.charAt(start + 1) === '!' ? start + 2 : start + 1;
  return glob.indexOf(']', first + 1);
}

function classSource(body: string): string {
  const negated = body.startsWith('!');
  const members = (negated ? body.slice(1) : body).replaceAll(/[\\\]^[&]/g, String.raw`\$&`);
  // A range that runs backwards (`[z-a]`) matches nothing in fnmatch; RegExp would refuse it.
  const ranges = members.replaceAll(/([^\\])-([^\\])/gs, (range, low: string, high: string) =>
    low <= high ? range : '',
  );
  if (ranges === '') return negated ? '.' : '(?!)';
  return `[${negated ? '^' : ''}${ranges}]`;
}
