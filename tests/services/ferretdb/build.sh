#!/bin/sh
# Builds the MongoDB wire server of the tests once for each state of its source, into the user's cache:
#
#   sh tests/services/ferretdb/build.sh           builds it if it is not there (a minute or two, 40 MB), prints its path
#   sh tests/services/ferretdb/build.sh --where   prints its path, and exits 1 if it is not there
#   sh tests/services/ferretdb/build.sh --can     exits 1 where no Go toolchain is found
set -u

here=$(cd "$(dirname "$0")" && pwd)
cache=${XDG_CACHE_HOME:-${HOME:-$here/../../../var}/.cache}/longshore
key=$(cat "$here"/*.go "$here/go.mod" "$here/go.sum" | cksum | tr -c '0-9\n' '-')
binary="$cache/ferretdb-$key"

# The Go that its own installer puts there is often not on the PATH.
PATH="$PATH:/usr/local/go/bin"
case ${1:-} in
--where)
  echo "$binary"
  [ -x "$binary" ]
  exit
  ;;
--can)
  command -v go >/dev/null 2>&1
  exit
  ;;
esac
[ -x "$binary" ] || {
  mkdir -p "$cache" || exit 1
  # Under a name of its own first: another build at the same time must not run half a file.
  (cd "$here" && GOFLAGS=-mod=readonly CGO_ENABLED=0 go build -trimpath -o "$binary.$$" .) >&2 || exit 1
  mv "$binary.$$" "$binary" || exit 1
}
echo "$binary"
