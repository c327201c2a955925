#!/usr/bin/env bash
# Does what user data does in AWS: it describes the node, and runs install.sh. Vagrant
# has copied the release and the secrets here.
set -euo pipefail
: "${ROLE:?}" "${SITE:?}" "${PRIMARY:?}" "${ADDRESS:?}" "${SERVER:?}" "${OTHER_SERVER:?}"

# The machines share the network that has the address.
interface=$(ip -o -4 addr show | awk -v a="$ADDRESS" 'index($4, a "/") == 1 { print $2 }')
wan='' reserved=128 pool='' packages=''
case $ROLE in
  server) wan=$OTHER_SERVER ;;
  stream) packages='neverball f3d' ;;
esac
[ -d /etc/nearcast/secrets ] || install -d -m 700 /etc/nearcast /etc/nearcast/secrets
cat >/etc/nearcast/provision.env <<ENV
NEARCAST_ROLE='$ROLE'
NEARCAST_SITE='$SITE'
NEARCAST_PRIMARY_SITE='$PRIMARY'
NEARCAST_NODE='$ROLE-$SITE'
NEARCAST_POOL='$pool'
NEARCAST_SERVERS='1'
NEARCAST_JOIN='$SERVER'
NEARCAST_JOIN_WAN='$wan'
NEARCAST_INTERFACE='$interface'
NEARCAST_ADDRESS='$ADDRESS'
NEARCAST_MEDIA_PORTS='20000-20099'
NEARCAST_ICE_PRIVATE='yes'
NEARCAST_NO_CLOUD='yes'
NEARCAST_RESERVED_MEMORY='$reserved'
NEARCAST_PACKAGES='$packages'
ENV
# Unchanged files stay as an earlier run of install.sh left them: Consul may read some.
for secret in /var/lib/nearcast/secrets/*; do
  cmp -s "$secret" "/etc/nearcast/secrets/${secret##*/}" || install -m 600 "$secret" /etc/nearcast/secrets/
done
exec /var/lib/nearcast/release/provision/install.sh --role "$ROLE" --release /var/lib/nearcast/release
