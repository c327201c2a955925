#!/usr/bin/env bash
# Puts a release together: make release calls it when everything is built.
#
#   release.sh DIR     DIR/ is the release, DIR/../nearcast-VERSION-linux-amd64.tar.gz the one file
#
# ARCHIVE=no makes only the folder.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(dirname "$here")
# shellcheck source-path=SCRIPTDIR
# shellcheck source=versions.env
. "$here/versions.env"
nearcast=${NEARCAST:-bin/nearcast} bin=${BIN:-bin} version=${VERSION:-dev}
out=$(realpath -m "${1:?the folder to make}")

# The servers of the pins, whatever else is on PATH.
tools=$(PATH=$(dirname "$(command -v go)"):/usr/bin:/bin "$nearcast" dev tools)
tool() { awk -v name="$1" '$1 == name { print $2 }' <<<"$tools"; }
for server in consul nomad; do
  want=$([ $server = consul ] && echo "$CONSUL_VERSION" || echo "$NOMAD_VERSION")
  have=$("$(tool $server)" version | sed -n '1s/.* v//p')
  if [ "$have" != "$want" ]; then
    echo "release: $(tool $server) is $have, and versions.env says $want" >&2
    exit 1
  fi
done

if ! go version -m "$(tool nomad)" | grep -q 'CGO_ENABLED=1'; then
  echo "release: $(tool nomad) was built without cgo and has no exec driver; remove it and try again" >&2
  exit 1
fi

rm -rf "$out.new"
mkdir -p "$out.new/plugins"
install -m 755 "$bin/nearcast" "$bin/stream-host" "$out.new/"
# Their files may be named after their versions.
for server in consul nomad; do install -m 755 "$(tool $server)" "$out.new/$server"; done
install -m 755 "$bin/plugins/nomad-driver-stream" "$out.new/plugins/"
# It takes minutes to build, and a release for a test does without.
if [ "${ARCHIVE:-yes}" = yes ]; then
  install -m 755 "$("$nearcast" dev tools nomad-autoscaler | awk '{ print $2 }')" "$out.new/nomad-autoscaler"
fi
cp -r "$here" "$out.new/provision"
# Policies and jobs, for servers; their tests stay here.
for name in acl jobs; do
  (cd "$root" && find "$name" -type f ! -name '*.go' ! -name '*.md' -print0 | xargs -0 cp --parents -t "$out.new")
done
find "$out.new/provision" -name '*.go' -delete
find "$out.new/provision" -type d -empty -delete
echo "$version consul-$CONSUL_VERSION nomad-$NOMAD_VERSION" >"$out.new/VERSION"
sums=$(cd "$out.new" && find . -type f -printf '%P\0' | sort -z | xargs -0 sha256sum)
echo "$sums" >"$out.new/SHA256SUMS"
rm -rf "$out"
mv "$out.new" "$out"

[ "${ARCHIVE:-yes}" = yes ] || exit 0
archive=$(dirname "$out")/nearcast-$version-linux-amd64.tar.gz
# The same files make the same archive, at whatever time and by whomever.
tar -C "$out" --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -c . | gzip -n >"$archive"
(cd "$(dirname "$archive")" && sha256sum "$(basename "$archive")" | tee "$(basename "$archive").sha256")
