# shellcheck shell=bash
# For a node with an NVIDIA GPU: the driver, GStreamer's NVENC plugin, and Xorg, which
# each seat starts for itself. Nothing needs configuration: the stream driver uses the
# GPU when all of this is installed (docs/DRIVER.md, display.server). NOT RUN: it was
# written on machines without a GPU.

# kernel_packages are the kernel's that are installed, also those that only name the newest one.
kernel_packages() {
  # It fails where a pattern fits no package.
  { dpkg-query -W -f '${db:Status-Status} ${Package}\n' 'linux-image-*' 'linux-headers-*' 'linux-modules-*' 'linux-kbuild-*' \
    'linux-aws*' 'linux-generic*' 'linux-virtual*' 2>/dev/null || true; } | awk '$1 == "installed" { print $2 }'
}

gpu() {
  local kernel
  # The kernel modules are built for the running kernel.
  packages "linux-headers-$(uname -r)"
  if [ "${system% *}" = debian ]; then
    local mirror # the one that the node gets Debian from
    # shellcheck disable=SC2016
    mirror=$(apt-get indextargets --format '$(REPO_URI) $(CODENAME)' 'Created-By: Packages' | awk '$2 == "bookworm" { print $1; exit }')
    [ -n "$mirror" ] || fail "apt has no source for bookworm: add one to /etc/apt/sources.list.d"
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
  # plugins-bad has nvcodec, and with it nvh264enc.
  packages "${driver[@]}" gstreamer1.0-plugins-bad xserver-xorg-core
  # With a newer kernel, a reboot would need the driver's modules for it, and perhaps headers that are not
  # there. Both come with a new node.
  read -ra kernel <<<"$(kernel_packages | tr '\n' ' ')"
  hold "${driver[@]}" "${kernel[@]}"
  if with_systemd && ! nvidia-smi -L >/dev/null 2>&1; then
    modprobe nvidia || fail "the NVIDIA driver does not load: is this a GPU instance, and is Secure Boot off?"
    did "NVIDIA driver loaded"
  fi
}
