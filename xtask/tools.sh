#!/usr/bin/env bash
# Builds the tools that come from crates.io into the cache folder, where they are not there yet.
set -euo pipefail
tools=${VIADUCT_CACHE:-$HOME/.cache/viaduct}/tools
if [ ! -x "$tools/bin/cargo-deny" ]; then
  echo "tools: building cargo-deny into $tools (some minutes, once)"
  env -u CARGO_TARGET_DIR cargo install cargo-deny --version 0.20.2 --locked --quiet --root "$tools"
fi
