# shellcheck shell=bash
# What the steps are made of. Each function makes something so, says so if it was
# not, and counts: a second run of install.sh has nothing to say.

changed=0

did() {
  changed=$((changed + 1))
  echo "install: $*"
}

fail() {
  echo "install: $*" >&2
  exit 1
}

# with_systemd tells a machine from an image that is being built: there, units are
# enabled and nothing is started.
with_systemd() { [ -d /run/systemd/system ]; }

# folder PATH MODE OWNER makes a directory.
folder() {
  local now=
  now=$(stat -c '%a %U:%G' "$1" 2>/dev/null || true)
  [ "$now" = "$2 $3" ] && return
  install -d -m "$2" -o "${3%:*}" -g "${3#*:}" "$1"
  did "folder $1"
}

# put PATH MODE [SOURCE] makes a file of another, or of what it reads. The file is
# replaced whole: a program that runs goes on with the old one.
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

# packages NAME... installs Debian packages that are missing.
packages() {
  local missing=() name
  for name in "$@"; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null || true)" = installed ] || missing+=("$name")
  done
  [ ${#missing[@]} -eq 0 ] && return
  # Where one fetch fails, mirrors and networks often serve the next.
  local apt=(apt-get -q -y -o Acquire::Retries=5 -o DPkg::Lock::Timeout=300)
  DEBIAN_FRONTEND=noninteractive "${apt[@]}" update
  DEBIAN_FRONTEND=noninteractive "${apt[@]}" install --no-install-recommends "${missing[@]}"
  did "packages ${missing[*]}"
}

# account NAME HOME makes a user without a shell for a service.
account() {
  getent passwd "$1" >/dev/null && return
  getent group "$1" >/dev/null || groupadd --system "$1"
  useradd --system --gid "$1" --home-dir "$2" --no-create-home --shell /usr/sbin/nologin "$1"
  did "user $1"
}

# unit NAME installs a unit of this folder, and has it started at boot unless it
# says that others start it.
unit() {
  local wanted
  put "/etc/systemd/system/$1" 644 "$here/units/$1"
  # As systemctl enable does, which an image without systemd has not.
  wanted=$(sed -n 's/^WantedBy=//p' "$here/units/$1")
  [ -z "$wanted" ] || link "/etc/systemd/system/$wanted.wants/$1" "/etc/systemd/system/$1"
}
