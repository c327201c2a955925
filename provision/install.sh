#!/usr/bin/env bash
# Turns a bare Debian 12 or Ubuntu 24.04 machine into a node. README.md has the
# whole story.
#
#   install.sh --role server|edge|stream [--env FILE] [--release DIR]
#
# --env says what the node is to be; it becomes /etc/nearcast/provision.env.
# --release is an unpacked release; by default, the file at NEARCAST_RELEASE_URL
# whose checksum is NEARCAST_RELEASE_SHA256.
# Run it again at any time: it changes what differs and ends with "changed=N".

# User data may call it by sh.
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@"
set -euo pipefail
umask 022

# shellcheck source-path=SCRIPTDIR
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=lib.sh
. "$here/lib.sh"
# shellcheck source=versions.env
. "$here/versions.env"
# shellcheck source=steps/base.sh
. "$here/steps/base.sh"
# shellcheck source=steps/release.sh
. "$here/steps/release.sh"
# shellcheck source=steps/stream.sh
. "$here/steps/stream.sh"
# shellcheck source=steps/gpu.sh
. "$here/steps/gpu.sh"
# shellcheck source=steps/agents.sh
. "$here/steps/agents.sh"

usage() { fail "$1; usage: install.sh --role server|edge|stream [--env FILE] [--release DIR]"; }

role='' env=/etc/nearcast/provision.env release=''
while [ $# -gt 0 ]; do
  case $1 in
    --role | --env | --release)
      [ $# -ge 2 ] || usage "$1 needs a value"
      printf -v "${1#--}" %s "$2"
      shift 2
      ;;
    *) usage "$1 means nothing" ;;
  esac
done
case $role in
  server | edge | stream) ;;
  *) usage "--role is \"$role\"" ;;
esac
[ "$(id -u)" -eq 0 ] || fail "it has to be run by root"
[ -r "$env" ] || fail "there is no $env, which says what this node is to be"

set -a
# shellcheck source=/dev/null
. "$env"
set +a
[ "${NEARCAST_ROLE:-}" = "$role" ] || fail "--role is $role, and $env says NEARCAST_ROLE=${NEARCAST_ROLE:-}"

supported_system
base "$env"
session_manager
release "$release"
if [ "$role" = stream ]; then
  stream_packages
  content_cache
  if [ "${NEARCAST_GPU:-no}" = yes ]; then gpu; fi
fi
if [ "$role" = edge ] && [ -n "${NEARCAST_TURN:-}" ]; then turn; fi
configuration
units
echo "changed=$changed"
