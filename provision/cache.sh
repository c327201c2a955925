#!/usr/bin/env bash
# Puts the content cache of a stream node on the largest local disk of the machine (EC2's
# instance store): NEARCAST_CACHE_DEVICE=local. It runs at each boot, since a machine that was
# stopped comes back with empty disks.
#
#   cache.sh [FOLDER]     default: /var/cache/nearcast
#
# It formats only a disk that has neither partitions nor anything that blkid knows, or one that
# it formatted before. Without such a disk the cache stays where it is, and the exit status is 1. Likewise
# where Nomad has allocations there, as when install.sh runs again.
set -euo pipefail

folder=${1:-/var/cache/nearcast}
label=nearcast-cache
# The test has disks of its own.
blocks=${NEARCAST_BLOCKS:-/sys/block} devices=${NEARCAST_DEVICES:-/dev}

say() { echo "nearcast-cache: $*" >&2; }

# largest prints the largest local disk that is free, or ours.
largest() {
  local disk name size most=0 found='' has status
  for disk in "$blocks"/*; do
    name=${disk##*/}
    grep -qs 'Instance Storage' "$disk/device/model" || continue
    if compgen -G "$disk/$name*" >/dev/null || compgen -G "$disk/holders/*" >/dev/null; then
      say "$name has partitions, or is in use: left alone"
      continue
    fi
    # -p asks the disk, not blkid's memory of it. Exit status 2: it knows nothing there; 8: it
    # finds the signs of several things.
    status=0
    has=$(blkid -p -o value -s LABEL -s TYPE -s PTTYPE "$devices/$name") || status=$?
    has=${has//$'\n'/ }
    if [ "$status" != 0 ] && [ "$status" != 2 ]; then
      say "blkid cannot say what $name has (exit status $status): left alone"
      continue
    fi
    if [ -n "$has" ] && [ "$has" != "$label ext4" ]; then
      say "$name has something else ($has): left alone"
      continue
    fi
    size=$(cat "$disk/size")
    if [ "$size" -gt "$most" ]; then most=$size found=$devices/$name; fi
  done
  echo "$found"
}

format() { mkfs.ext4 -q -F -m 0 -L "$label" "$1" && say "made a file system on $1"; }

attach() { mount -o noatime,nodev,nosuid "$1" "$folder"; }

mountpoint -q "$folder" && exit 0
if grep -q " $folder/alloc/" /proc/self/mountinfo; then
  say "Nomad has allocations below $folder, which the mount would hide: it is done at the next boot. Drain the node, then boot it"
  exit 1
fi
disk=$(largest)
if [ -z "$disk" ]; then
  say "this machine has no free local disk: $folder stays on the disk that it is on"
  exit 1
fi
[ -n "$(blkid -p -o value -s LABEL "$disk" || true)" ] || format "$disk"
# What is there can be fetched again: a file system that cannot be mounted is made anew.
attach "$disk" || { format "$disk" && attach "$disk"; }
chmod 711 "$folder"
say "$folder is on $disk"
