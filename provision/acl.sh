#!/usr/bin/env bash
# Sets the access control of a site up: on the primary site, from nothing. Each
# server runs it at each boot; it changes only what differs, and fails, to be tried
# again, where there is no leader yet or another server does the same right now.
#
# NEARCAST_ENV, NEARCAST_SECRETS and NEARCAST_HOME say where things are, if not
# where install.sh puts them.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
secrets=${NEARCAST_SECRETS:-/etc/nearcast/secrets}
home=${NEARCAST_HOME:-/opt/nearcast}
# shellcheck source=/dev/null
. "${NEARCAST_ENV:-/etc/nearcast/provision.env}"

secret() { tr -d '\n' <"$secrets/$1"; }
http=${NEARCAST_HTTP:-127.0.0.1}
export CONSUL_HTTP_ADDR=http://$http:8500 NOMAD_ADDR=http://$http:4646
CONSUL_HTTP_TOKEN=$(secret consul-management.token)
NOMAD_TOKEN=$(secret nomad-management.token)
export CONSUL_HTTP_TOKEN NOMAD_TOKEN

fail() {
  echo "acl: $*" >&2
  exit 1
}

consul acl token read -self >/dev/null || fail "Consul has no leader yet, or has not copied the primary site's tokens"
if ! nomad acl token self >/dev/null 2>&1; then
  [ "$NEARCAST_SITE" = "${NEARCAST_PRIMARY_SITE:-$NEARCAST_SITE}" ] || fail "Nomad has not copied the primary site's tokens yet"
  nomad acl bootstrap "$secrets/nomad-management.token" >/dev/null || fail "Nomad has no leader yet, or has other ACLs already"
  echo "acl: Nomad's ACLs are set up"
fi

consul_policy() { # NAME FILE
  if consul acl policy read -name "$1" >/dev/null 2>&1; then
    consul acl policy update -name "$1" -no-merge -rules "@$2" >/dev/null
  else
    consul acl policy create -name "$1" -rules "@$2" >/dev/null
    echo "acl: Consul policy $1"
  fi
}

consul_token() { # FILE POLICY...: a token whose secret was made beforehand
  local file=$1 args=()
  shift
  CONSUL_HTTP_TOKEN=$(secret "$file") consul acl token read -self >/dev/null 2>&1 && return
  for policy in "$@"; do args+=(-policy-name "$policy"); done
  consul acl token create -secret "$(secret "$file")" -description "Nearcast: ${file%.token}" "${args[@]}" >/dev/null
  echo "acl: Consul token $file"
}

if [ "$NEARCAST_SITE" = "${NEARCAST_PRIMARY_SITE:-$NEARCAST_SITE}" ]; then
  # The agents' own, first: no other node can join before.
  for part in nomad-server nomad-client seat; do
    consul_policy "nearcast-$part" "$home/acl/consul/$part.hcl"
  done
  consul_policy nearcast-replication "$here/acl/consul-replication.hcl"
  consul_token consul-replication.token nearcast-replication
  for role in server edge stream; do
    consul_policy "nearcast-agent-$role" "$here/acl/consul-agent-$role.hcl"
    consul_token "$role-consul-agent.token" "nearcast-agent-$role"
  done
  # A server's Nomad agent is a client too.
  consul_token server-consul-nomad.token nearcast-nomad-server nearcast-nomad-client
  for role in edge stream; do
    consul_token "$role-consul-nomad.token" nearcast-nomad-client
  done
  consul_token consul-seat.token nearcast-seat

  for pool in "$home"/jobs/pools/*.hcl; do nomad node pool apply "$pool" >/dev/null; done
  # Nodes log in with the operator's statement of what they are.
  nomad acl policy apply -description "Nearcast: a node drains itself" nearcast-node "$here/acl/nomad-node.hcl" >/dev/null
  config=$(mktemp)
  trap 'rm -f "$config"' EXIT
  key=$(awk '{printf "%s\\n", $0}' "$secrets/nomad-node.pub.pem")
  cat >"$config" <<JSON
{
  "JWTValidationPubKeys": ["$key"],
  "BoundIssuer": ["nearcast-operator"],
  "BoundAudiences": ["nomad"],
  "SigningAlgs": ["ES256"],
  "ClaimMappings": {"role": "role", "site": "site"}
}
JSON
  if nomad acl auth-method info nearcast-node >/dev/null 2>&1; then
    nomad acl auth-method update -config "@$config" nearcast-node >/dev/null
  else
    nomad acl auth-method create -name nearcast-node -type JWT -max-token-ttl 4h -token-locality local -config "@$config" >/dev/null
    echo "acl: Nomad auth method nearcast-node"
  fi
  rules=$(nomad acl binding-rule list)
  if [[ $rules != *nearcast-node* ]]; then
    nomad acl binding-rule create -auth-method nearcast-node -bind-type policy -bind-name nearcast-node >/dev/null
  fi
fi

said=$(NOMAD_JWKS_URL=$NOMAD_ADDR/.well-known/jwks.json bash "$home/acl/apply.sh" 2>&1) || fail "$said"

# The routers' keys; later ones are the operator's (docs/DEPLOY.md, rotation).
if ! nomad var get nomad/jobs/router >/dev/null 2>&1; then
  nomad var put nomad/jobs/router "ticket_key=@$secrets/ticket-key.pem" "ticket_keys=@$secrets/ticket-keys.pem" >/dev/null
  nomad var put -force nomad/jobs/brain "ticket_keys=@$secrets/ticket-keys.pem" >/dev/null
  echo "acl: the routers' keys are in Nomad"
fi
echo "acl: done"
