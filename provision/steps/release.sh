# shellcheck shell=bash
# The programs, from one release that was compared with its checksum.

release() { # [DIR]
  local dir=$1
  if [ -z "$dir" ]; then
    local record=/var/lib/nearcast/release.sha256
    [[ -n ${NEARCAST_RELEASE_URL:-} && -n ${NEARCAST_RELEASE_SHA256:-} ]] ||
      fail "there is neither --release nor NEARCAST_RELEASE_URL with NEARCAST_RELEASE_SHA256 in the environment file"
    # What is installed already need not be fetched again.
    [ "$(cat $record 2>/dev/null || true)" = "$NEARCAST_RELEASE_SHA256" ] && return
    dir=$(mktemp -d /var/tmp/nearcast-release-XXXXXX)
    # shellcheck disable=SC2064
    trap "rm -rf '$dir'" EXIT
    fetch "$NEARCAST_RELEASE_URL" "$dir.tar.gz"
    echo "$NEARCAST_RELEASE_SHA256  $dir.tar.gz" | sha256sum --check --quiet >&2 ||
      fail "$NEARCAST_RELEASE_URL is not the file with the checksum $NEARCAST_RELEASE_SHA256"
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
    *) fail "NEARCAST_RELEASE_URL is $1; it has to begin with https:// or file://" ;;
  esac
}

# runs FILE stops where the system is older than the one that the file was built on.
runs() {
  local missing
  missing=$(ldd "$1" 2>&1 | grep 'not found' || true)
  [ -z "$missing" ] || fail "$1 does not run here: the release was built on a newer system than this one, or a package is missing"$'\n'"$missing"
}

take() { # DIR: checks a release and installs what the role needs of it
  local dir=$1 name
  [ -f "$dir/SHA256SUMS" ] || fail "$dir is no release: it has no SHA256SUMS (make release makes one)"
  (cd "$dir" && sha256sum --check --quiet SHA256SUMS) >&2 || fail "$dir is not as it was made: see above"
  runs "$dir/nomad"
  for name in consul nomad nearcast; do
    put "/usr/local/bin/$name" 755 "$dir/$name"
  done
  # A release that was put together by hand may hold others.
  [[ "$(consul version)" == "Consul v$CONSUL_VERSION"[[:space:]]* ]] || fail "the release's Consul is not $CONSUL_VERSION"
  [[ "$(nomad version)"$'\n' == "Nomad v$NOMAD_VERSION"[[:space:]]* ]] || fail "the release's Nomad is not $NOMAD_VERSION"
  case $role in
    stream)
      put /opt/nearcast/bin/stream-host 755 "$dir/stream-host"
      put /opt/nearcast/plugins/nomad-driver-stream 755 "$dir/plugins/nomad-driver-stream"
      ;;
    server)
      if [ -f "$dir/nomad-autoscaler" ]; then
        put /usr/local/bin/nomad-autoscaler 755 "$dir/nomad-autoscaler"
      fi
      # For acl.sh, and for the operator who has a shell here.
      while read -r name; do
        put "/opt/nearcast/$name" 644 "$dir/$name"
      done < <(cd "$dir" && find acl jobs -type f)
      ;;
  esac
}
