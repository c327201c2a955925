# shellcheck shell=bash
# For a machine that becomes an image. Each node of the image gets its description from
# user data, and runs install.sh again, which has little left to do.

# bare_of_secrets refuses a machine that was a node: its secrets would be in each copy.
bare_of_secrets() {
  local found
  found=$(find /etc/nearcast/secrets /etc/nearcast/provision.env /etc/consul.d /etc/nomad.d -type f -print -quit 2>/dev/null || true)
  [ -z "$found" ] || fail "this machine is or was a node: it has $found. Make the image of a fresh machine"
}

# forget removes what must not be the same on all nodes of the image, and what an image
# need not carry.
forget() {
  local path
  [ "$changed" -eq 0 ] || apt-get -q clean
  # systemd makes a new one at the first boot.
  [ ! -s /etc/machine-id ] || : >/etc/machine-id
  # "-delete" says nothing where nothing is.
  find /etc/ssh -name 'ssh_host_*_key*' -delete 2>/dev/null || true
  find /var/log -type f -exec truncate -s 0 {} + 2>/dev/null || true
  # The key of the builder's login too.
  for path in /var/lib/systemd/random-seed {/root,/home/*}/{.bash_history,.ssh/authorized_keys}; do
    rm -f "$path"
  done
  ! command -v cloud-init >/dev/null || cloud-init clean
}
