# shellcheck shell=bash
# What every node has.

supported_system() {
  # shellcheck source=/dev/null
  system=$(. /etc/os-release && echo "$ID $VERSION_ID")
  case $system in
    "debian 12" | "ubuntu 24.04") ;;
    *) fail "this is $system; Debian 12 and Ubuntu 24.04 are supported" ;;
  esac
  machine=$(dpkg --print-architecture)
  case "$machine $role" in
    "amd64 "* | "arm64 server" | "arm64 edge") ;;
    arm64*) fail "this machine is $machine; nodes are amd64, servers and edge nodes also arm64; use an amd64 machine, or make this one a server or an edge node" ;;
    *) fail "this machine is $machine; nodes are amd64, servers and edge nodes also arm64; use such a machine" ;;
  esac
}

base() {
  # nomad alloc exec needs nsenter (util-linux); small images lack sysctl (procps).
  packages ca-certificates iproute2 procps util-linux
  account consul /var/lib/consul
  folder /etc/nearcast 755 root:root
  folder /etc/nearcast/secrets 750 root:consul
  folder /etc/consul.d 750 root:consul
  folder /etc/nomad.d 750 root:root
  folder /var/lib/consul 750 consul:consul
  # Apps run as other users, in folders below it.
  folder /var/lib/nomad 755 root:root

  put /etc/sysctl.d/60-nearcast.conf 644 <<'SYSCTL'
# A key frame is a burst of about a hundred packets; the default buffers hold fewer.
net.core.rmem_max = 4194304
net.core.wmem_max = 4194304
# Each seat watches files.
fs.inotify.max_user_instances = 8192
fs.inotify.max_user_watches = 524288
# Outgoing connections must not take the ports of media and services.
net.ipv4.ip_local_port_range = 32768 60999
SYSCTL
  if with_systemd && [ "$(sysctl -n net.core.rmem_max)" != 4194304 ]; then
    sysctl -q -p /etc/sysctl.d/60-nearcast.conf
    did "kernel settings"
  fi
}

# ntp installs what keeps the clock right, unless the image has something that does:
# tickets are good for a minute, and a seat with a wrong clock refuses them. Both Debian
# and Ubuntu have systemd-timesyncd by default; images of clouds may have chrony.
ntp() {
  grep -q '^installed .*time-daemon' <<<"$(dpkg-query -W -f '${db:Status-Status} ${Provides}\n')" && return
  packages systemd-timesyncd
}

# session_manager gives operators shells through AWS instead of an open SSH port.
# Ubuntu's images have its agent. For Debian, AWS publishes a package without a
# checksum, so the operator names the file's checksum. NOT RUN.
session_manager() {
  [ -n "${NEARCAST_SSM_AGENT_URL:-}" ] || return 0
  [ "$(dpkg-query -W -f '${db:Status-Status}' amazon-ssm-agent 2>/dev/null || true)" = installed ] && return
  fetch "$NEARCAST_SSM_AGENT_URL" /run/amazon-ssm-agent.deb
  echo "${NEARCAST_SSM_AGENT_SHA256:-none}  /run/amazon-ssm-agent.deb" | sha256sum --check --quiet >&2 ||
    fail "$NEARCAST_SSM_AGENT_URL does not have the checksum NEARCAST_SSM_AGENT_SHA256"
  dpkg -i /run/amazon-ssm-agent.deb
  rm -f /run/amazon-ssm-agent.deb
  did "package amazon-ssm-agent"
}
