#!/usr/bin/env bash
# Writes this node's configuration anew, and has the agents read what changed. It may be killed at
# any line: what an agent lacks is found by the time of its files, not by what this run changed.
#
# Certificates, gossip keys and the agent's own token are read at a reload. What Nomad reads at its
# start alone, and Consul's first management token, need a restart. Tasks go on meanwhile.
#
# Consul is last: what it then shows of the node's secrets says that Nomad has them, too.
#
# NEARCAST_ETC names another place than /etc.
set -euo pipefail
etc=${NEARCAST_ETC:-/etc}
nearcast provision configure

# agent NAME FILE...: restarts it if one of the files is newer than the agent, else reloads it
agent() {
  local name=$1 started
  shift
  # An agent that does not run now reads all when it starts.
  systemctl is-active --quiet "$name.service" || return 0
  started=$(systemctl show --timestamp=us+utc --property=ExecMainStartTimestamp --value "$name.service")
  if [ -n "$(find "$@" -newermt "$started" 2>/dev/null)" ]; then
    systemctl restart "$name.service"
  else
    systemctl reload-or-restart "$name.service"
  fi
}

agent nomad "$etc"/nomad.d/*.hcl
agent consul "$etc"/consul.d/server.hcl
# A reload alone shows it minutes later; an agent that does not run now, when it starts.
if systemctl is-active --quiet consul.service; then
  nearcast provision show || echo "renew: Consul shows this node's secrets later" >&2
fi
