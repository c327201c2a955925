#!/usr/bin/env bash
# Runs the site's router and brain, and publishes a game. Their hosts may come
# later: Nomad keeps what it cannot place yet.
#
#   jobs.sh EDGE-ADDRESS
set -euo pipefail
edge=$1
for _ in $(seq 60); do
  [ "$(systemctl show -P Result nearcast-acl.service)/$(systemctl show -P ExecMainStatus nearcast-acl.service)/$(systemctl is-active nearcast-acl.service || true)" = success/0/inactive ] && break
  sleep 5
done
NOMAD_TOKEN=$(cat /etc/nearcast/secrets/nomad-management.token)
export NOMAD_TOKEN NOMAD_ADDR=http://127.0.0.1:4646
cd /opt/nearcast/jobs
nomad job run -detach -var count=1 -var canary=0 -var port=7700 -var "url=http://$edge:7700" platform/router.nomad.hcl
nomad job run -detach -var count=1 -var canary=0 -var port=7701 -var "url=ws://$edge:7701/v1/connect" platform/brain.nomad.hcl
nomad job run -detach -var warm=1 -var node_pool=stream-cpu neverball.nomad.hcl
echo "jobs: open http://$edge:7700"
