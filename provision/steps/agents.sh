# shellcheck shell=bash
# The configuration and the services. They come last: with them the node joins its site.

# configuration writes the configuration of the agents. It may fail: what it needs may come
# later, and the unit nearcast-configure does the same, at each boot and until it works.
configuration() {
  local path written
  before_move
  written=$(nearcast provision configure --timeout 2m) || return
  for path in $written; do
    did "file $path"
  done
}

# before_move stops Nomad's agent where the configuration is about to give its allocations another folder. Else it could
# start a seat in the old one just before its restart, and the new agent would not find the seat's files. Seats keep
# running, and start_units starts the agent.
before_move() {
  [ "$role" = stream ] && [ -s /etc/nomad.d/client.hcl ] && with_systemd || return 0
  ! grep -q '^ *alloc_dir *= "/var/cache/nearcast/alloc"' /etc/nomad.d/client.hcl || return 0
  # With allocations there, the folder stays: allocDir in provision/configure.
  ! grep -q ' /var/lib/nomad/alloc/' /proc/self/mountinfo || return 0
  systemctl stop nomad.service
  did "Nomad's agent is stopped, as the folder of its allocations changes"
}

# unit_files installs the units, which then start at each boot. Their
# names are in the array "all" then.
unit_files() {
  local name
  all=(nearcast-configure.service nearcast-renew.service nearcast-renew.timer consul.service nomad.service)
  put /opt/nearcast/provision/consul-ready.sh 755 "$here/consul-ready.sh"
  put /opt/nearcast/provision/renew.sh 755 "$here/renew.sh"
  if [ "$role" = server ]; then
    put /opt/nearcast/provision/acl.sh 755 "$here/acl.sh"
    all+=(nearcast-acl.service)
    if [ -n "${NEARCAST_BACKUP_URL:-}" ]; then
      put /opt/nearcast/provision/backup.sh 755 "$here/backup.sh"
      all+=(nearcast-backup.service nearcast-backup.timer)
    fi
  fi
  [ "$role" != stream ] || all+=(nearcast-firewall.service nearcast-firewall.timer)
  [ "$role ${NEARCAST_CACHE_DEVICE:-}" != "stream local" ] || all+=(nearcast-cache.service)
  # It watches EC2's metadata.
  [ -z "${NEARCAST_ASG:-}" ] || all+=(nearcast-drain.service)
  # A server in another one's place changes the quorum: an operator does that.
  [ -z "${NEARCAST_ASG:-}" ] || [ "$role" = server ] || all+=(nearcast-health.service)
  [ -z "${NEARCAST_READY_HOOK:-}" ] || all+=(nearcast-ready.service)
  for name in "${all[@]}"; do
    unit "$name"
  done
}

# start_units starts what does not run, and restarts what has changed. Agents without a
# configuration wait for it.
start_units() { # configured|unconfigured
  local name
  with_systemd || return 0
  [ "$changed" -eq 0 ] || systemctl daemon-reload
  for name in "${all[@]}"; do
    if [ "$name $1" = "nearcast-configure.service unconfigured" ]; then
      systemctl start --no-block "$name"
    fi
    case $name in nearcast-configure.service | nearcast-renew.service | nearcast-backup.service | nearcast-firewall.service | nearcast-cache.service) continue ;; esac
    if ! systemctl -q is-active "$name"; then
      systemctl start --no-block "$name"
    elif [ "$changed" -gt 0 ]; then
      # Seats keep running while the agents restart.
      systemctl restart --no-block "$name"
    fi
  done
}
