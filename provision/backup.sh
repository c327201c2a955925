#!/usr/bin/env bash
# Saves snapshots of the site's Consul and Nomad to NEARCAST_BACKUP_URL. A timer runs it
# on every server; only Consul's leader makes snapshots.
#
# To restore them into new servers with the same secrets:
#
#   consul snapshot restore consul-….snap && nomad operator snapshot restore nomad-….snap
# An agent may be restarting just now: it tries again for NEARCAST_BACKUP_WAIT seconds
# (300). Else one restart at the wrong moment would cost the backup of an hour.
set -euo pipefail
if [ "${1:-}" != once ]; then
  until "$0" once; do
    if [ "$SECONDS" -ge "${NEARCAST_BACKUP_WAIT:-300}" ]; then
      echo "backup: gave up after $SECONDS s; the lines above say why" >&2
      exit 1
    fi
    sleep $((5 + RANDOM % 10))
  done
  exit 0
fi
secrets=${NEARCAST_SECRETS:-/etc/nearcast/secrets}
# shellcheck source=/dev/null
. "${NEARCAST_ENV:-/etc/nearcast/provision.env}"
url=${NEARCAST_BACKUP_URL:?must be set: where to save to}
http=${NEARCAST_HTTP:-127.0.0.1}
CONSUL_HTTP_TOKEN=$(cat "$secrets/consul-management.token")
NOMAD_TOKEN=$(cat "$secrets/nomad-management.token")
export CONSUL_HTTP_ADDR=http://$http:8500 NOMAD_ADDR=http://$http:4646 CONSUL_HTTP_TOKEN NOMAD_TOKEN

info=$(consul info)
[[ $info == *'leader_addr = '[![:space:]]* ]] || {
  echo "backup: Consul has no leader" >&2
  exit 1
}
[[ $info == *'leader = true'* ]] || exit 0
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
now=$(date -u +%Y%m%dT%H%M%SZ)
consul snapshot save "$dir/consul-$now.snap" >/dev/null
nomad operator snapshot save "$dir/nomad-$now.snap" >/dev/null
for file in "$dir"/*.snap; do
  case $url in
    s3://*) nearcast provision upload --env "${NEARCAST_ENV:-/etc/nearcast/provision.env}" --region "${NEARCAST_BACKUP_REGION:-}" "$file" "$url/${file##*/}" ;;
    file://*) install -D -m 600 "$file" "${url#file://}/${file##*/}" ;;
    *)
      echo "backup: NEARCAST_BACKUP_URL is $url; it must begin with s3:// or file://" >&2
      exit 1
      ;;
  esac
  echo "backup: saved $url/${file##*/}"
done
