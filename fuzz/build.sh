#!/usr/bin/env bash
# Builds the fuzzers for libFuzzer, on a stable toolchain: marks of coverage, and no sanitizer, which safe
# code has little use for. Says where they are.
set -euo pipefail
cd "$(dirname "$0")/libfuzzer"
target=${CARGO_TARGET_DIR:?}/fuzz
host=$(rustc -vV | sed -n 's/host: //p')
export RUSTFLAGS='-Cpasses=sancov-module
  -Cllvm-args=-sanitizer-coverage-level=4
  -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
  -Cllvm-args=-sanitizer-coverage-pc-table
  -Cllvm-args=-sanitizer-coverage-trace-compares'
# The target is named so that build scripts and macros are built without the marks.
cargo build --release --target "$host" --target-dir "$target" >&2
echo "$target/$host/release"
