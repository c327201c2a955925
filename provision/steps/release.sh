# shellcheck shell=bash
# The programs, from one release whose checksum was compared.

release() { # [DIR]
  local dir=$1
  if [ -z "$dir" ]; then
    local record=/var/lib/nearcast/release.sha256
    [[ -n ${NEARCAST_RELEASE_URL:-} && -n ${NEARCAST_RELEASE_SHA256:-} ]] ||
      fail "no release: give --release, or NEARCAST_RELEASE_URL and NEARCAST_RELEASE_SHA256 in the environment file"
    # It is installed already.
    [ "$(cat $record 2>/dev/null || true)" = "$NEARCAST_RELEASE_SHA256" ] && return
    dir=$(mktemp -d /var/tmp/nearcast-release-XXXXXX)
    # shellcheck disable=SC2064
    trap "rm -rf '$dir'" EXIT
    fetch "$NEARCAST_RELEASE_URL" "$dir.tar.gz"
    echo "$NEARCAST_RELEASE_SHA256  $dir.tar.gz" | sha256sum --check --quiet >&2 ||
      fail "$NEARCAST_RELEASE_URL does not have the checksum $NEARCAST_RELEASE_SHA256"
    tar -xzf "$dir.tar.gz" -C "$dir"
    rm -f "$dir.tar.gz"
    take "$dir"
    put $record 644 <<<"$NEARCAST_RELEASE_SHA256"
    rm -rf "$dir"
  else
    take "$dir"
  fi
}

fetch() { # URL FILE
  case $1 in
    https://*)
      command -v curl >/dev/null || packages curl
      curl -fsSL --retry 5 -o "$2" "$1"
      ;;
    file://*) cp "${1#file://}" "$2" ;;
    *) fail "the URL is $1; it must begin with https:// or file://" ;;
  esac
}

# runs FILE fails if the file needs a library that this system lacks or has too old.
runs() {
  local missing
  missing=$(ldd "$1" 2>&1 | grep 'not found' || true)
  [ -z "$missing" ] || fail "$1 does not run here: the release was built on a newer system, or a package is missing"$'\n'"$missing"
}

take() { # DIR: checks a release, and installs what the role needs
  local dir=$1 name
  [ -f "$dir/SHA256SUMS" ] || fail "$dir is not a release: it has no SHA256SUMS (make release makes one)"
  (cd "$dir" && sha256sum --check --quiet SHA256SUMS) >&2 || fail "files in $dir were changed or damaged: see above"
  # A release without this file is older than the one for arm64, so it is for amd64.
  name=$(cat "$dir/ARCH" 2>/dev/null || echo amd64)
  [ "$name" = "$machine" ] || fail "$dir is a release for $name, and this machine is $machine; make release makes one for amd64, make release-arm64 one for arm64"
  runs "$dir/nomad"
  for name in consul nomad nearcast; do
    put "/usr/local/bin/$name" 755 "$dir/$name"
  done
  # A release that was assembled by hand may have others.
  [[ "$(consul version)" == "Consul v$CONSUL_VERSION"[[:space:]]* ]] || fail "the release's Consul is not $CONSUL_VERSION"
  [[ "$(nomad version)"$'\n' == "Nomad v$NOMAD_VERSION"[[:space:]]* ]] || fail "the release's Nomad is not $NOMAD_VERSION"
  case $role in
    stream)
      put /opt/nearcast/bin/seat-keeper 755 "$dir/seat-keeper"
      put /opt/nearcast/bin/stream-host 755 "$dir/stream-host"
      put /opt/nearcast/bin/nearcast-app 755 "$dir/nearcast-app"
      put /opt/nearcast/bin/nearcast-gamepad.so 644 "$dir/nearcast-gamepad.so"
      put /opt/nearcast/plugins/nomad-driver-stream 755 "$dir/plugins/nomad-driver-stream"
      put /opt/nearcast/plugins/nomad-device-seats 755 "$dir/plugins/nomad-device-seats"
      ;;
    server)
      if [ -f "$dir/nomad-autoscaler" ]; then
        put /usr/local/bin/nomad-autoscaler 755 "$dir/nomad-autoscaler"
      fi
      # Its plugin. The task of the autoscaler sees /usr/local/bin alone.
      put /usr/local/bin/nomad-autoscaler-seats 755 "$dir/nomad-autoscaler-seats"
      # For acl.sh, and for an operator with a shell here.
      while read -r name; do
        put "/opt/nearcast/$name" 644 "$dir/$name"
      done < <(cd "$dir" && find acl jobs -type f)
      ;;
  esac
}
