#!/usr/bin/env bash
# usage: run.sh SECONDS: fuzzes each target so long, beginning with its corpus, and puts what is worth
# keeping back into it. An input that breaks a promise ends the run and is left in FUZZ_DIR/TARGET-faults.
set -euo pipefail
cd "$(dirname "$0")"
seconds=$1
dir=${FUZZ_DIR:-${CARGO_TARGET_DIR:?}/fuzz/work}
fuzzers=$(./build.sh)
cargo build --quiet --package viaduct-fuzz-targets --bins
corpus=$CARGO_TARGET_DIR/debug/corpus
# Longer inputs find nothing that shorter ones do not, and take their time.
declare -A len=([message]=4096 [update]=1024 [speaker]=1024 [config]=2048 [mrt]=1024)

for target in message update speaker config mrt; do
  work=$dir/$target
  rm -rf "$work" "$work-least"
  mkdir -p "$work" "$work-least" "$work-faults"
  [ ! -e "corpus/$target" ] || "$corpus" unpack "corpus/$target" "$work"
  words=(-max_len="${len[$target]}" -artifact_prefix="$work-faults/")
  [ ! -e "$target.dict" ] || words+=(-dict="$target.dict")
  "$fuzzers/$target" "${words[@]}" -max_total_time="$seconds" -timeout=20 -print_final_stats=1 "$work" \
    2>"$work.log" || { grep -v '^#' "$work.log" | tail -40; exit 1; }
  grep -E 'stat::number_of_executed_units' "$work.log" | sed "s/.*units: */$target: /"
  # The least that reaches as much; of very many inputs a sample would do, but there never are.
  "$fuzzers/$target" "${words[@]}" -merge=1 "$work-least" "$work" 2>>"$work.log"
  "$corpus" pack "$work-least" "corpus/$target"
done
