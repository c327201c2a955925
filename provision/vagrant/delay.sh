#!/usr/bin/env bash
# Puts the other site at a distance: packets to it wait for half a round trip, and its
# machines do the same with packets to here.
#
#   delay.sh OWN-ADDRESS OTHER-NETWORK RTT-MS JITTER-MS
set -euo pipefail
address=$1 network=$2 rtt=$3 jitter=$4
interface=$(ip -o -4 addr show | awk -v a="$address" 'index($4, a "/") == 1 { print $2 }')
[ -n "$interface" ] || { echo "delay: no interface has $address" >&2; exit 1; }
modprobe sch_netem
tc qdisc replace dev "$interface" root handle 1: prio bands 4 priomap 1 2 2 2 1 2 0 0 1 1 1 1 1 1 1 1
tc qdisc replace dev "$interface" parent 1:4 handle 40: netem delay "$((rtt * 500))us" "$((jitter * 500))us" distribution normal limit 20000
tc filter replace dev "$interface" parent 1: protocol ip prio 1 handle 800::1 u32 match ip dst "$network" flowid 1:4
echo "delay: $network is $rtt ms away"
