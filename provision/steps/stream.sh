# shellcheck shell=bash
# What seats need to render and encode, and the content cache.

stream_packages() {
  local apps
  # The packages that dev/setup/packages.go names to run seats, without the headers.
  packages libgstreamer1.0-0 libgstreamer-plugins-base1.0-0 gstreamer1.0-plugins-base \
    gstreamer1.0-plugins-good gstreamer1.0-plugins-ugly xvfb libgl1-mesa-dri pulseaudio
  # For apps that take touches: display { touch = true }.
  packages xserver-xorg-core xserver-xorg-video-dummy
  # The firewall around seats, and the way out for apps with network = "internet".
  packages nftables slirp4netns
  read -ra apps <<<"${NEARCAST_PACKAGES:-}"
  packages "${apps[@]}"
  runs /opt/nearcast/bin/stream-host
}

# content_cache puts the cache on a volume or local disk of its own, if the node has one.
content_cache() {
  local device
  folder /var/cache/nearcast 711 root:root
  [ -n "${NEARCAST_CACHE_DEVICE:-}" ] || return 0
  if [ "$NEARCAST_CACHE_DEVICE" = local ]; then
    put /opt/nearcast/provision/cache.sh 755 "$here/cache.sh"
  fi
  mountpoint -q /var/cache/nearcast && return
  if [ "$NEARCAST_CACHE_DEVICE" = local ]; then
    # At each boot nearcast-cache.service does the same. A node without the disk works.
    if /opt/nearcast/provision/cache.sh; then did "mount of the cache"; fi
    return
  fi
  device=$(cache_device)
  if [ -z "$(blkid -o value -s TYPE "$device" || true)" ]; then
    mkfs.ext4 -q -m 0 -L nearcast-cache "$device"
    did "file system on $device"
  fi
  if ! grep -q '^LABEL=nearcast-cache ' /etc/fstab; then
    # Without the volume the node still boots, with a smaller cache. Nomad's unit
    # starts after the mount.
    echo 'LABEL=nearcast-cache /var/cache/nearcast ext4 noatime,nodev,nosuid,nofail,x-systemd.device-timeout=30s 0 2' >>/etc/fstab
    did "mount of the cache in /etc/fstab"
  fi
  if allocations; then
    echo "install: Nomad has allocations below /var/cache/nearcast, which the mount would hide: $device is mounted there at the next boot. Drain the node, then boot it"
    return
  fi
  mount /var/cache/nearcast
  chmod 711 /var/cache/nearcast
  did "mount of the cache"
}

# allocations reports whether Nomad has allocations beside the cache, ended ones included: the secrets of each are a mount.
allocations() { grep -q ' /var/cache/nearcast/alloc/' /proc/self/mountinfo; }

# cache_device finds the volume. EC2's /dev/sdf is an NVMe disk with another name here:
# the only EBS volume without partitions. NOT RUN.
cache_device() {
  local disk
  if [ -b "$NEARCAST_CACHE_DEVICE" ]; then
    echo "$NEARCAST_CACHE_DEVICE"
    return
  fi
  for disk in /sys/block/nvme*; do
    grep -q 'Amazon Elastic Block Store' "$disk/device/model" 2>/dev/null || continue
    compgen -G "$disk/nvme*p*" >/dev/null && continue
    echo "/dev/${disk##*/}"
    return
  done
  fail "there is no $NEARCAST_CACHE_DEVICE, and no EBS volume without partitions"
}

# firewall keeps seats from the node's and the site's inside: its unit loads what
# "nearcast provision configure" renders, and Nomad does not start without it.
firewall() {
  put /etc/systemd/system/nomad.service.d/firewall.conf 644 <<'UNIT'
[Service]
# Not 1: nomad.service takes that for success.
ExecStartPre=/bin/sh -c 'test -s /etc/nearcast/firewall.nft && systemctl start nearcast-firewall.service || exit 2'
UNIT
}
