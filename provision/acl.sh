#!/usr/bin/env bash
# Sets up the access control of a site, at the primary site from nothing: it
# bootstraps Nomad's ACLs, has acl/apply.sh write the policies, and gives the nodes
# their tokens. Each server runs it at each boot. It changes only what differs. It
# fails, and systemd runs it again, while there is no leader, and when another server
# does the same at the same time.
#
# NEARCAST_ENV, NEARCAST_SECRETS and NEARCAST_HOME name other places than those of
# install.sh.
set -euo pipefail
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

primary() { [ "$NEARCAST_SITE" = "${NEARCAST_PRIMARY_SITE:-$NEARCAST_SITE}" ]; }

consul acl token read -self >/dev/null || fail "Consul has no leader yet, or has not copied the primary site's tokens yet"
if ! nomad acl token self >/dev/null 2>&1; then
  primary || fail "Nomad has not copied the primary site's tokens yet"
  nomad acl bootstrap "$secrets/nomad-management.token" >/dev/null ||
    fail "Nomad has no leader yet, or its ACLs were bootstrapped with another token"
  echo "acl: bootstrapped Nomad's ACLs"
fi

said=$(NOMAD_JWKS_URL=$NOMAD_ADDR/.well-known/jwks.json bash "$home/acl/apply.sh" 2>&1) || fail "$said"

consul_token() { # FILE POLICY...: a token with the secret of that file
  local file=$1 args=()
  shift
  CONSUL_HTTP_TOKEN=$(secret "$file") consul acl token read -self >/dev/null 2>&1 && return
  for policy in "$@"; do args+=(-policy-name "$policy"); done
  consul acl token create -secret "$(secret "$file")" -description "Nearcast: ${file%.token}" "${args[@]}" >/dev/null
  echo "acl: created the Consul token $file"
}

if primary; then
  consul_token consul-replication.token nearcast-replication
  for role in server edge stream; do
    consul_token "$role-consul-agent.token" "nearcast-agent-$role"
  done
  # A server's Nomad agent is a client too.
  consul_token server-consul-nomad.token nearcast-nomad-server nearcast-nomad-client
  for role in edge stream; do
    consul_token "$role-consul-nomad.token" nearcast-nomad-client
  done
  consul_token consul-seat.token nearcast-seat
  consul_token consul-driver.token nearcast-driver

  for pool in "$home"/jobs/pools/*.hcl; do nomad node pool apply "$pool" >/dev/null; done
  # Nodes log in with a signed statement of what they are.
  config=$(mktemp)
  trap 'rm -f "$config"' EXIT
  # While their key is rotated, two are good.
  keys=$(awk '/BEGIN/ {printf "%s\"", n++ ? ", " : ""} {printf "%s\\n%s", $0, /END/ ? "\"" : ""}' "$secrets/nomad-node.pub.pem")
  cat >"$config" <<JSON
{
  "JWTValidationPubKeys": [$keys],
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
    echo "acl: created the Nomad auth method nearcast-node"
  fi
  rules=$(nomad acl binding-rule list)
  if [[ $rules != *nearcast-node* ]]; then
    nomad acl binding-rule create -auth-method nearcast-node -bind-type policy -bind-name nearcast-node >/dev/null
  fi
fi

# The routers' first keys; later ones are the operator's (docs/RECOVER.md, "Rotate the ticket key").
if ! nomad var get nomad/jobs/router >/dev/null 2>&1; then
  nomad var put nomad/jobs/router "ticket_key=@$secrets/ticket-key.pem" "ticket_keys=@$secrets/ticket-keys.pem" >/dev/null
  nomad var put -force nomad/jobs/brain "ticket_keys=@$secrets/ticket-keys.pem" >/dev/null
  echo "acl: put the routers' keys into Nomad's variables"
fi
echo "acl: done"
