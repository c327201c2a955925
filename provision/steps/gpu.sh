# shellcheck shell=bash
# A node with an NVIDIA GPU: the driver, GStreamer's NVENC plugin, and Xorg, which
# each seat starts for itself. Nothing is to be configured: the stream driver takes
# the GPU where it finds all of this (docs/DRIVER.md, display.server). NOT RUN: no
# machine that this was written on has a GPU.

gpu() {
  # Kernel modules are built for the kernel that will run them.
  packages "linux-headers-$(uname -r)"
  if [ "${system% *}" = debian ]; then
    local mirror # that the node has Debian from
    # shellcheck disable=SC2016
    mirror=$(apt-get indextargets --format '$(REPO_URI) $(CODENAME)' 'Created-By: Packages' | awk '$2 == "bookworm" { print $1; exit }')
    [ -n "$mirror" ] || fail "apt knows no source of bookworm"
    put /etc/apt/sources.list.d/nearcast-non-free.sources 644 <<SOURCES
Types: deb
URIs: $mirror
Suites: bookworm bookworm-updates
Components: contrib non-free non-free-firmware
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
SOURCES
    read -ra driver <<<"$NVIDIA_DEBIAN_PACKAGES"
  else
    read -ra driver <<<"$NVIDIA_UBUNTU_PACKAGES"
  fi
  # nvcodec, with nvh264enc, is in plugins-bad.
  packages "${driver[@]}" gstreamer1.0-plugins-bad xserver-xorg-core
  if with_systemd && ! nvidia-smi -L >/dev/null 2>&1; then
    modprobe nvidia || fail "the NVIDIA driver does not load: is this a GPU instance, and is Secure Boot off?"
    did "NVIDIA driver loaded"
  fi
}
