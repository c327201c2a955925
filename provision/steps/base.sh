# shellcheck shell=bash
# What every node has.

supported_system() {
  # shellcheck source=/dev/null
  system=$(. /etc/os-release && echo "$ID $VERSION_ID")
  case $system in
    "debian 12" | "ubuntu 24.04") ;;
    *) fail "this is $system; Debian 12 and Ubuntu 24.04 are supported" ;;
  esac
  [ "$(dpkg --print-architecture)" = amd64 ] || fail "releases are for amd64"
}

base() { # FILE
  # nsenter (util-linux) is what nomad alloc exec needs; small images lack sysctl (procps).
  packages ca-certificates iproute2 procps util-linux
  account consul /var/lib/consul
  folder /etc/nearcast 755 root:root
  [ "$1" -ef /etc/nearcast/provision.env ] || put /etc/nearcast/provision.env 600 "$1"
  folder /etc/nearcast/secrets 750 root:consul
  folder /etc/consul.d 750 root:consul
  folder /etc/nomad.d 750 root:root
  folder /var/lib/consul 750 consul:consul
  # The apps below it run as users of their own, and must get through.
  folder /var/lib/nomad 755 root:root

  put /etc/sysctl.d/60-nearcast.conf 644 <<'SYSCTL'
# A key frame is a burst of a hundred packets; the default buffers hold fewer.
net.core.rmem_max = 4194304
net.core.wmem_max = 4194304
# Each seat watches files, and has sockets.
fs.inotify.max_user_instances = 8192
fs.inotify.max_user_watches = 524288
# Ports of media and services are not for programs that take any.
net.ipv4.ip_local_port_range = 32768 60999
SYSCTL
  if with_systemd && [ "$(sysctl -n net.core.rmem_max)" != 4194304 ]; then
    sysctl -q -p /etc/sysctl.d/60-nearcast.conf
    did "kernel settings"
  fi
}

# session_manager gives operators shells through AWS instead of an open SSH port.
# Ubuntu's images have its agent. For Debian's, AWS publishes a package and no
# checksum: who builds the cluster says which file it is. NOT RUN.
session_manager() {
  [ -n "${NEARCAST_SSM_AGENT_URL:-}" ] || return 0
  [ "$(dpkg-query -W -f '${db:Status-Status}' amazon-ssm-agent 2>/dev/null || true)" = installed ] && return
  fetch "$NEARCAST_SSM_AGENT_URL" /run/amazon-ssm-agent.deb
  echo "${NEARCAST_SSM_AGENT_SHA256:-none}  /run/amazon-ssm-agent.deb" | sha256sum --check --quiet >&2 ||
    fail "$NEARCAST_SSM_AGENT_URL is not the file with the checksum NEARCAST_SSM_AGENT_SHA256"
  dpkg -i /run/amazon-ssm-agent.deb
  rm -f /run/amazon-ssm-agent.deb
  did "package amazon-ssm-agent"
}

# turn has what the job "turn" runs. Debian would start it as a service too, and
# with settings of its own.
turn() {
  if [ ! -e /etc/systemd/system/coturn.service ]; then
    ln -s /dev/null /etc/systemd/system/coturn.service
    did "coturn's own service masked"
  fi
  packages coturn
}
