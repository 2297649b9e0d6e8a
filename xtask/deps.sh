#!/usr/bin/env bash
# Installs the Debian or Ubuntu packages that a group of tasks needs and that are missing.
# usage: xtask/deps.sh run|test|bench-bgp|ebpf|fuzz|vm ...
set -euo pipefail

declare -A groups=(
  # What a cluster needs.
  [run]="iproute2 nftables runc conmon util-linux ca-certificates gcc libc6-dev"
  # The other makers' daemons, and the tools that tests look through.
  [test]="bird2 frr gobgpd openbgpd exabgp tshark bgpdump mrtparse iputils-ping curl jq procps tcpdump bpftool bind9-dnsutils bind9-host dnsmasq-base chromium chromium-driver"
  # The other makers' BGP daemons that the speaker is measured against.
  [bench-bgp]="bird2 frr gobgpd openbgpd procps"
  # The BPF object is committed; its toolchain is needed only to rebuild it.
  [ebpf]="rustc-web cargo-web libstd-rust-web-dev-bpf llvm-22-dev bpftool"
  # The runtime of the fuzzers is C++.
  [fuzz]="g++"
  [vm]="qemu-system-x86 busybox-static cpio gzip xz-utils"
)

missing=()
for group in "$@"; do
  if [ -z "${groups[$group]-}" ]; then
    echo "deps: no group '$group', only: ${!groups[*]}" >&2
    exit 2
  fi
  read -ra packages <<< "${groups[$group]}"
  for package in "${packages[@]}"; do
    status=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$status" = installed ] || missing+=("$package")
  done
done
if [ ${#missing[@]} -eq 0 ]; then exit 0; fi

if [ "$(id -u)" -ne 0 ]; then
  echo "deps: root is needed to install: ${missing[*]}" >&2
  exit 1
fi
echo "deps: installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
# A daemon that a package brings must not start on its own; the tests start what they use.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
  trap 'rm -f $policy' EXIT
  printf '#!/bin/sh\nexit 101\n' > $policy
  chmod +x $policy
fi
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${missing[@]}" > /dev/null
