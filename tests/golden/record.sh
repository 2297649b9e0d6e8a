#!/usr/bin/env bash
# Records what another maker's speaker says: record.sh bird|frr|gobgp|openbgpd|exabgp (as root, with the
# daemon installed). The octets go to bgp/NAME-VERSION-all.hex, which the tests of bgp-wire read.
set -euo pipefail
cd "$(dirname "$0")"
name=$1
record=${RECORD:-${CARGO_TARGET_DIR:-../../target}/debug/examples/record}
[ -x "$record" ] || cargo build --quiet --package bgp-wire --example record
a=golden-$$-a b=golden-$$-b work=$(mktemp -d)
started=()
clean() {
  for pid in "${started[@]}"; do kill -9 "$pid" 2>/dev/null || true; done
  for ns in $a $b; do ip netns del $ns 2>/dev/null || true; done
  rm -rf "$work"
}
trap clean EXIT
ip netns add $a
ip netns add $b
ip -n $a link add wire type veth peer name wire netns $b
for end in "$a 1" "$b 2"; do
  set -- $end
  ip -n "$1" link set lo up
  ip -n "$1" link set wire up
  ip -n "$1" address add "192.0.2.$2/24" dev wire
  ip -n "$1" address add "2001:db8::$2/64" dev wire nodad
done
words='new cables, back at noon'
inside() { nsenter --net=/run/netns/$a "$@"; }
asn=65002 version=$(dpkg-query -W -f '${Version}' "${package:-$(case $name in bird) echo bird2;; gobgp) echo gobgpd;; *) echo "$name";; esac)}")
version=${version%%-*}

case $name in
  bird)
    inside bird -f -c daemons/bird.conf -s "$work/ctl" -P "$work/pid" >"$work/log" 2>&1 & started+=($!)
    shutdown=(birdc -s "$work/ctl" "disable peer \"$words\"") ;;
  frr)
    chown frr:frr "$work"; chmod 755 "$work"
    cp daemons/frr.conf "$work/bgpd.conf"; : >"$work/zebra.conf"; chown frr:frr "$work"/*
    for daemon in zebra bgpd; do
      inside /usr/lib/frr/$daemon -z "$work/zserv" --vty_socket "$work" -i "$work/$daemon.pid" \
        -f "$work/$daemon.conf" >"$work/$daemon.log" 2>&1 & started+=($!)
      sleep 1
    done
    shutdown=(vtysh --vty_socket "$work" -c 'configure' -c 'router bgp 4200000001'
      -c "neighbor 192.0.2.2 shutdown message $words") ;;
  gobgp)
    inside gobgpd -f daemons/gobgp.toml -p --api-hosts 127.0.0.1:50051 >"$work/log" 2>&1 & started+=($!)
    sleep 2
    rib=(nsenter --net=/run/netns/$a gobgp global rib)
    "${rib[@]}" add 10.1.0.0/16 identifier 7 nexthop 192.0.2.1 origin incomplete med 50 \
      aspath 4200000009 community 65001:100,no-export large-community 4200000001:1:2 rt 65001:7 aigp metric 100
    "${rib[@]}" add 10.1.0.0/16 identifier 8 nexthop 192.0.2.1 aspath 65100
    "${rib[@]}" add 203.0.113.128/25 nexthop 192.0.2.1
    "${rib[@]}" -a ipv6 add 2001:db8:1::/48 nexthop 2001:db8::1 community 65001:600
    "${rib[@]}" -a ipv6 add ::/0 nexthop 2001:db8::1
    shutdown=(nsenter --net=/run/netns/$a gobgp neighbor 192.0.2.2 disable "$words") ;;
  openbgpd)
    mkdir -p /run/openbgpd
    (umask 077; sed "1isocket \"$work/ctl\"" daemons/openbgpd.conf >"$work/conf")
    inside /usr/sbin/bgpd -d -f "$work/conf" >"$work/log" 2>&1 & started+=($!)
    shutdown=(bgpctl -s "$work/ctl" neighbor 192.0.2.2 down "$words") ;;
  exabgp)
    inside env exabgp.daemon.user=root exabgp.tcp.bind= exabgp.api.cli=false exabgp \
      daemons/exabgp.conf >"$work/log" 2>&1 & started+=($!)
    shutdown=(kill "${started[0]}") ;;
  *) echo "no such speaker: $name" >&2; exit 1 ;;
esac

out=bgp/$name-$version-all.hex
if nsenter --net=/run/netns/$b timeout 40 "$record" 192.0.2.2:179 $asn "${shutdown[@]}" >"$work/hex"; then
  { echo "# All that $name $version tells under daemons/$name.*: ../record.sh"; cat "$work/hex"; } >"$out"
  echo "$out"
else
  cat "$work"/*log >&2
  exit 1
fi
