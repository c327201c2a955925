#!/usr/bin/env bash
# Runs the site's router and brain, and publishes a game. Jobs that run already are
# stopped first. Their nodes may come later: Nomad keeps what it cannot place yet.
#
#   jobs.sh EDGE-ADDRESS
set -euo pipefail
edge=$1
# Before access control is set up, Nomad accepts no token and has no pools.
for left in {119..0}; do
  systemctl -q is-active nearcast-acl.service && break
  if [ "$left" = 0 ]; then
    journalctl -q --no-pager -n 20 -u nearcast-acl >&2
    echo "jobs: this site's access control is not set up yet; run this again: vagrant provision --provision-with jobs" >&2
    exit 1
  fi
  sleep 5
done
NOMAD_TOKEN=$(cat /etc/nearcast/secrets/nomad-management.token)
export NOMAD_TOKEN NOMAD_ADDR=http://127.0.0.1:4646 NOMAD_CLI_SHOW_HINTS=false
# Running the same job again would change nothing: neither the program nor a failed deployment.
for job in router brain; do
  if nomad job inspect "$job" >/dev/null 2>&1; then nomad job stop -yes "$job" >/dev/null; fi
done
cd /opt/nearcast/jobs
nomad job run -detach -var count=1 -var canary=0 -var port=7700 -var "url=http://$edge:7700" platform/router.nomad.hcl
nomad job run -detach -var count=1 -var canary=0 -var port=7701 -var "url=ws://$edge:7701/v1/connect" platform/brain.nomad.hcl
nomad job run -detach -var warm=1 -var node_pool=stream-cpu neverball.nomad.hcl # in the namespace apps
# An earlier release had it in the namespace default.
if nomad job inspect -namespace=default neverball >/dev/null 2>&1; then nomad job stop -yes -purge -namespace=default neverball >/dev/null; fi
echo "jobs: open http://$edge:7700"
