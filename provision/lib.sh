# shellcheck shell=bash
# Functions for the steps. Each one changes the machine only if it differs, and then
# prints and counts the change: a second run of install.sh prints none.

changed=0

did() {
  changed=$((changed + 1))
  echo "install: $*"
}

fail() {
  echo "install: $*" >&2
  exit 1
}

# with_systemd reports whether systemd runs. It does not while an image is built: then
# units are enabled, and none is started.
with_systemd() { [ -d /run/systemd/system ]; }

# folder PATH MODE OWNER makes a directory.
folder() {
  local now=
  now=$(stat -c '%a %U:%G' "$1" 2>/dev/null || true)
  [ "$now" = "$2 $3" ] && return
  install -d -m "$2" -o "${3%:*}" -g "${3#*:}" "$1"
  did "folder $1"
}

# put PATH MODE [SOURCE] writes a file: a copy of SOURCE, or standard input. It replaces
# the file as a whole: a running program keeps the old one.
put() {
  local source=${3:-} temp
  if [ -z "$source" ]; then
    source=$(mktemp -p /run)
    cat >"$source"
  fi
  if [ "$(stat -c %a "$1" 2>/dev/null || true)" != "$2" ] || ! cmp -s "$source" "$1"; then
    install -d "$(dirname "$1")"
    temp=$(mktemp "$(dirname "$1")/.new-XXXXXX")
    cat "$source" >"$temp"
    chmod "$2" "$temp"
    mv -f "$temp" "$1"
    did "file $1"
  fi
  [ -n "${3:-}" ] || rm -f "$source"
}

# link PATH TARGET makes a symbolic link.
link() {
  [ "$(readlink "$1" 2>/dev/null || true)" = "$2" ] && return
  install -d "$(dirname "$1")"
  ln -sfn "$2" "$1"
  did "link $1"
}

# packages NAME... installs the Debian packages that are missing.
packages() {
  local missing=() name
  for name in "$@"; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null || true)" = installed ] || missing+=("$name")
  done
  [ ${#missing[@]} -eq 0 ] && return
  # When one download fails, the next often works.
  local apt=(apt-get -q -y -o Acquire::Retries=5 -o DPkg::Lock::Timeout=300)
  DEBIAN_FRONTEND=noninteractive "${apt[@]}" update
  DEBIAN_FRONTEND=noninteractive "${apt[@]}" install --no-install-recommends "${missing[@]}"
  did "packages ${missing[*]}"
}

# hold NAME... keeps packages at their version: unattended upgrades would replace the
# driver below running seats.
hold() {
  local held name
  held=$(apt-mark showhold)
  for name in "$@"; do
    grep -qx "$name" <<<"$held" && continue
    apt-mark hold "$name" >/dev/null
    did "hold of $name"
  done
}

# account NAME HOME makes a user without a shell for a service.
account() {
  getent passwd "$1" >/dev/null && return
  getent group "$1" >/dev/null || groupadd --system "$1"
  useradd --system --gid "$1" --home-dir "$2" --no-create-home --shell /usr/sbin/nologin "$1"
  did "user $1"
}

# unit NAME installs a unit of this folder. The unit starts at boot if it has a
# WantedBy= line.
unit() {
  local wanted
  put "/etc/systemd/system/$1" 644 "$here/units/$1"
  # As systemctl enable does; in an image without systemd it is not available.
  wanted=$(sed -n 's/^WantedBy=//p' "$here/units/$1")
  [ -z "$wanted" ] || link "/etc/systemd/system/$wanted.wants/$1" "/etc/systemd/system/$1"
}
