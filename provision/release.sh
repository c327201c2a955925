#!/usr/bin/env bash
# Assembles a release: make release calls it when everything is built.
#
#   release.sh DIR     DIR/ is the release; DIR/../nearcast-VERSION-linux-ARCH.tar.gz is the same as one file
#
# ARCH is amd64, or arm64: that release is for servers and edge nodes, and has no programs of stream
# nodes. BIN has our programs for it; the others are built from source, Nomad by the C compiler CC
# (aarch64-linux-gnu-gcc).
#
# In the file's name, a "+" of the version (v1.2.3+dirty) is a "-": object stores and
# URLs read a plus as a space. DIR/VERSION has the version as it is.
#
# ARCHIVE=no makes only the folder.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(dirname "$here")
# shellcheck source-path=SCRIPTDIR
# shellcheck source=versions.env
. "$here/versions.env"
nearcast=${NEARCAST:-bin/nearcast} bin=${BIN:-bin} version=${VERSION:-dev} arch=${ARCH:-amd64}
out=$(realpath -m "${1:?name the folder to make}")

fail() {
  echo "release: $*" >&2
  exit 1
}

[[ $version =~ ^[A-Za-z0-9.+-]+$ ]] || fail "VERSION is \"$version\"; it must be letters, digits, dots, hyphens and plus signs"

case $arch in
  amd64) others=(seat-keeper stream-host nearcast-app) ;;
  arm64)
    others=()
    command -v "${CC:=aarch64-linux-gnu-gcc}" >/dev/null || fail "$CC is missing, which Nomad needs for arm64: apt-get install gcc-aarch64-linux-gnu libc6-dev-arm64-cross"
    # Beside those of this machine. HashiCorp's releases are downloaded for this machine alone.
    export GOARCH=arm64 CC NEARCAST_RELEASES_URL=off NEARCAST_TOOLS_DIR="${NEARCAST_TOOLS_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/nearcast/tools/bin}/arm64"
    ;;
  *) fail "ARCH is \"$arch\"; it must be amd64 or arm64" ;;
esac

# The autoscaler takes minutes to build, so a release for a test has none.
servers=(consul nomad)
[ "${ARCHIVE:-yes}" != yes ] || servers+=(nomad-autoscaler)
# The pinned ones, whatever else is on PATH: operators put the folder of a release there.
tools=$(PATH=$(dirname "$(command -v go)"):/usr/bin:/bin "$nearcast" dev tools "${servers[@]}")
tool() { awk -v name="$1" '$1 == name { print $2 }' <<<"$tools"; }
built() { go version -m "$(tool "$1")"; }
for_arch() { [ "$arch" = amd64 ] || go version -m "$1" | grep "GOARCH=$arch\$" >/dev/null; }
version_of() { # Programs for another machine do not run here.
  if [ "$arch" = amd64 ]; then
    "$(tool "$1")" version | sed -n '1s/.* v//p'
  else
    built "$1" | awk -v module="github.com/hashicorp/$1" '$1 != "path" && $2 == module { print substr($3, 2) }'
  fi
}
for name in nearcast nomad-autoscaler-seats; do
  for_arch "$bin/$name" || fail "$bin/$name is not for $arch: make release-$arch builds it, so run that"
done
for server in "${servers[@]}"; do
  for_arch "$(tool "$server")" || fail "$(tool "$server") is not for $arch: remove it, or its package, and run make release-$arch again, which then builds one from source"
done
for server in consul nomad; do
  want=$([ $server = consul ] && echo "$CONSUL_VERSION" || echo "$NOMAD_VERSION")
  have=$(version_of $server)
  [ "$have" = "$want" ] || fail "$(tool $server) is version $have, and versions.env says $want"
done

built nomad | grep 'CGO_ENABLED=1' >/dev/null ||
  fail "$(tool nomad) was built without cgo and has no exec driver; remove it and try again"

rm -rf "$out.new"
mkdir -p "$out.new"
for name in nearcast nomad-autoscaler-seats "${others[@]}"; do install -m 755 "$bin/$name" "$out.new/$name"; done
# The servers' own files may have names with versions.
for server in "${servers[@]}"; do install -m 755 "$(tool "$server")" "$out.new/$server"; done
if [ "$arch" = amd64 ]; then
  install -m 644 "$bin/nearcast-gamepad.so" "$out.new/"
  install -D -m 755 -t "$out.new/plugins" "$bin/plugins/nomad-driver-stream" "$bin/plugins/nomad-device-seats"
fi
cp -r "$here" "$out.new/provision"
# Policies and jobs, for servers, without their tests.
for name in acl jobs; do
  (cd "$root" && find "$name" -type f ! -name '*.go' ! -name '*.md' -print0 | xargs -0 cp --parents -t "$out.new")
done
find "$out.new/provision" -name '*.go' -delete
find "$out.new/provision" -type d -empty -delete
echo "$version consul-$CONSUL_VERSION nomad-$NOMAD_VERSION" >"$out.new/VERSION"
echo "$arch" >"$out.new/ARCH"
sums=$(cd "$out.new" && find . -type f -printf '%P\0' | sort -z | xargs -0 sha256sum)
echo "$sums" >"$out.new/SHA256SUMS"
rm -rf "$out"
mv "$out.new" "$out"

[ "${ARCHIVE:-yes}" = yes ] || exit 0
archive=$(dirname "$out")/nearcast-${version//+/-}-linux-$arch.tar.gz
# The same files make the same archive, at any time and by any user.
tar -C "$out" --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -c . | gzip -n >"$archive"
(cd "$(dirname "$archive")" && sha256sum "$(basename "$archive")" | tee "$(basename "$archive").sha256")
