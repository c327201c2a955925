#!/usr/bin/env bash
# Writes the access control of a site: the namespaces of apps and fetches, all policies, and how a job
# gets its token.
# Run it again after a change: it changes only what differs.
#
#   export CONSUL_HTTP_ADDR=… CONSUL_HTTP_TOKEN=… NOMAD_ADDR=… NOMAD_TOKEN=…   # management tokens
#   acl/apply.sh
#
# Consul's servers fetch the keys that Nomad signs identities with from NOMAD_JWKS_URL,
# by default NOMAD_ADDR/.well-known/jwks.json. NOMAD_JWKS_CA names a file with the CA
# of that address.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
method=nomad-workloads
jwks=${NOMAD_JWKS_URL:-${NOMAD_ADDR:?must be set}/.well-known/jwks.json}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

say() { echo "acl: $*" >&2; }

consul_policy() { # NAME FILE
  if consul acl policy read -name "$1" >/dev/null 2>&1; then
    consul acl policy update -name "$1" -no-merge -description "Nearcast" -rules "@$2" >/dev/null
  else
    consul acl policy create -name "$1" -description "Nearcast" -rules "@$2" >/dev/null
  fi
  say "Consul policy $1"
}

for part in router brain turn autoscaler observability console seat driver anonymous launch-keys webhooks nomad-server nomad-client replication; do
  consul_policy "nearcast-$part" "$here/consul/$part.hcl"
done
for role in server edge stream; do
  sed "s/ROLE-/$role-/" "$here/consul/agent.hcl" >"$scratch/$role.hcl"
  consul_policy "nearcast-agent-$role" "$scratch/$role.hcl"
done
consul acl token update -accessor-id 00000000-0000-0000-0000-000000000002 \
  -append-policy-name nearcast-anonymous >/dev/null
say "Consul's anonymous token"

ca=null
if [ -n "${NOMAD_JWKS_CA:-}" ]; then
  # As one JSON string: only the line ends of PEM need escapes.
  ca="\"$(awk '{printf "%s\\n", $0}' "$NOMAD_JWKS_CA")\""
fi
cat >"$scratch/method.json" <<JSON
{
  "JWKSURL": "$jwks",
  "JWKSCACert": $ca,
  "JWTSupportedAlgs": ["RS256"],
  "BoundAudiences": ["consul.io"],
  "ClaimMappings": {"nomad_namespace": "nomad_namespace", "nomad_job_id": "nomad_job_id", "nomad_task": "nomad_task"}
}
JSON
if consul acl auth-method read -name $method >/dev/null 2>&1; then
  consul acl auth-method update -name $method -no-merge -description "Nearcast" -config "@$scratch/method.json" >/dev/null
else
  consul acl auth-method create -name $method -type jwt -description "Nearcast" -config "@$scratch/method.json" >/dev/null
fi
say "Consul auth method $method"

rules=$(consul acl binding-rule list -method $method)
for job in router brain turn autoscaler observability console; do
  if ! grep -q "nearcast-$job" <<<"$rules"; then
    consul acl binding-rule create -method $method -description "Nearcast" -bind-type policy -bind-name "nearcast-$job" \
      -selector "value.nomad_namespace==default and value.nomad_job_id==$job" >/dev/null
  fi
  say "Consul binding rule for the job $job"
done

for namespace in apps fetches; do
  nomad namespace apply -json "$here/nomad/$namespace.namespace.json" >/dev/null
  say "Nomad namespace $namespace"
done

for job in brain autoscaler prefetch; do
  nomad acl policy apply -namespace default -job "$job" -description "Nearcast" "nearcast-$job" "$here/nomad/$job.hcl" >/dev/null
  say "Nomad policy nearcast-$job, for the job $job"
done
nomad acl policy apply -description "Nearcast: a node drains itself" nearcast-node "$here/nomad/node.hcl" >/dev/null
say "Nomad policy nearcast-node"
nomad acl policy apply -description "Nearcast: publish apps" publisher "$here/nomad/publisher.hcl" >/dev/null
say "Nomad policy publisher"
for role in viewer operator admin; do
  nomad acl policy apply -description "Nearcast: the console, for its role $role" "nearcast-console-$role" "$here/nomad/console-$role.hcl" >/dev/null
  say "Nomad policy nearcast-console-$role"
done
