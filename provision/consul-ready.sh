#!/usr/bin/env bash
# Waits until Consul knows a leader. Nomad's unit runs it first, for at most a minute. A
# task starts with a token from Consul: if Consul does not answer, the task fails, and
# with it the first deployment of a job, for good.
#
# Servers do not wait: their Consul may need the other servers, and they run no such task.
set -euo pipefail
# shellcheck source=/dev/null
. "${NEARCAST_ENV:-/etc/nearcast/provision.env}"
[ "$NEARCAST_ROLE" != server ] || exit 0
leader() {
  # Bash opens the connection: a node may have no curl.
  exec 3<>"/dev/tcp/${NEARCAST_HTTP:-127.0.0.1}/8500" || return
  printf 'GET /v1/status/leader HTTP/1.0\r\n\r\n' >&3
  grep -q :8300 <&3
}
until (leader) 2>/dev/null; do
  sleep 1
done
