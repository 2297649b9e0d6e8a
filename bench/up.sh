#!/usr/bin/env bash
# Times the start of a cluster stage by stage, ROUNDS times, and prints the median of each.
set -euo pipefail
viaduct=${VIADUCT_BIN:?run it by \`make bench-up\`}/viaduct
rounds=${ROUNDS:-3} name=bench-up port=18082
results=$(mktemp -d)
trap '"$viaduct" down --fresh --name $name >/dev/null 2>&1; rm -rf "$results"' EXIT

for round in $(seq "$rounds"); do
  "$viaduct" down --fresh --name $name 2>/dev/null
  "$viaduct" up --name $name --api-port $port --echo "$VIADUCT_BIN/viaduct-echo" -o json \
    > "$results/$round.json"
  echo "round $round: $(jq -r '.totalMillis' "$results/$round.json") ms"
  if [ "$round" -eq 1 ]; then
    # Resident memory of each kind of process, a few seconds after the start.
    sleep 3
    for pid in "/run/viaduct/$name/pids/"*; do
      rss=$(awk '/^VmRSS/ {print $2}' "/proc/$(cat "$pid")/status")
      printf '%-20s %6d KiB resident\n' "$(basename "$pid")" "$rss"
    done > "$results/memory"
  fi
done

echo
echo "median of $rounds rounds, 3 nodes, $(nproc) cores (target: 15000 ms in all)"
jq -rs '
  def median: sort | .[length / 2 | floor];
  ([.[0].stages[].name][] as $name
   | [$name, ([.[].stages[] | select(.name == $name).millis] | median)]),
  ["in all", ([.[].totalMillis] | median)]
  | "\(.[1]) ms\t\(.[0])"' "$results"/*.json
echo
cat "$results/memory"
