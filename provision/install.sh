#!/usr/bin/env bash
# Makes a node of a bare Debian 12 or Ubuntu 24.04 machine. README.md explains it.
#
#   install.sh --role server|edge|stream [--env FILE] [--release DIR] [--image]
#
# --env describes the node; the file becomes /etc/nearcast/provision.env.
# --release is the folder of an unpacked release. Default: the file at
# NEARCAST_RELEASE_URL with the checksum NEARCAST_RELEASE_SHA256.
# --image prepares this machine to become the image of such nodes: it installs what takes
# time, and leaves nothing that belongs to one node, no secret and no environment file.
# --env is read then for the packages of a pool, and not kept.
# Run it again at any time: it changes only what differs, and ends with "changed=N".

# User data may run it with sh.
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
# shellcheck source=steps/image.sh
. "$here/steps/image.sh"

read_env() { # FILE
  [ -r "$1" ] || fail "$1 is missing or cannot be read; it describes this node (README.md, provision.env)"
  set -a
  # shellcheck source=/dev/null
  . "$1"
  set +a
  [ "${NEARCAST_ROLE:-}" = "$role" ] || fail "--role is $role, but $1 has NEARCAST_ROLE=${NEARCAST_ROLE:-}"
}

usage() { fail "$1; usage: install.sh --role server|edge|stream [--env FILE] [--release DIR] [--image]"; }

role='' env='' release='' image=no
while [ $# -gt 0 ]; do
  case $1 in
    --image)
      image=yes
      shift
      ;;
    --role | --env | --release)
      [ $# -ge 2 ] || usage "$1 needs a value"
      printf -v "${1#--}" %s "$2"
      shift 2
      ;;
    *) usage "unknown argument $1" ;;
  esac
done
case $role in
  server | edge | stream) ;;
  *) usage "--role is \"$role\"; it must be one of server, edge, stream" ;;
esac
[ "$(id -u)" -eq 0 ] || fail "run it as root"
[ "$image" = yes ] && bare_of_secrets
[ "$image$env" = yes ] || read_env "${env:=/etc/nearcast/provision.env}"

supported_system
base
ntp
session_manager
release "$release"
if [ "$role" = stream ]; then
  stream_packages
  case ${NEARCAST_GPU:-no} in
    yes | true) gpu ;;
  esac
fi
if [ "$image" = yes ]; then
  forget
  echo "changed=$changed"
  exit
fi
[ "$env" -ef /etc/nearcast/provision.env ] || put /etc/nearcast/provision.env 600 "$env"
# Not in an image: one for several roles may become a server, which has no firewall to wait for.
if [ "$role" = stream ]; then
  content_cache
  firewall
fi
unit_files
if configuration; then
  start_units configured
else
  start_units unconfigured
  fail "could not write the configuration: see the error above. nearcast-configure.service goes on trying; journalctl -u nearcast-configure shows how"
fi
echo "changed=$changed"
