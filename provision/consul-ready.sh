#!/usr/bin/env bash
# Waits until Consul knows a leader. Nomad's unit runs it first, for a minute at most:
# a task begins with a token of Consul's, and where Consul does not answer yet, that
# task fails, and a job's first deployment with it, for good.
#
# Servers do not wait: their Consul may need theirs, and runs no such task.
set -euo pipefail
# shellcheck source=/dev/null
. "${NEARCAST_ENV:-/etc/nearcast/provision.env}"
[ "$NEARCAST_ROLE" != server ] || exit 0
leader() {
  # Bash's own connections: a node need not have curl.
  exec 3<>"/dev/tcp/${NEARCAST_HTTP:-127.0.0.1}/8500" || return
  printf 'GET /v1/status/leader HTTP/1.0\r\n\r\n' >&3
  grep -q :8300 <&3
}
until (leader) 2>/dev/null; do
  sleep 1
done
