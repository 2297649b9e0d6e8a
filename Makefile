# Viaduct. `make up` starts a cluster on this machine, `make test` runs every test.

CACHE    ?= $(or $(VIADUCT_CACHE),$(HOME)/.cache/viaduct)
# Built things live outside the clone, so that a fresh clone need not build the dependencies anew.
TARGET   ?= $(or $(CARGO_TARGET_DIR),$(CACHE)/target)
NODES    ?= 3
NAME     ?= viaduct
# Racks to put the nodes into (none: one segment), and whether reflectors take the mesh's place.
RACKS    ?=
REFLECTOR ?=
# How often the tests repeat what they repeat: 1 in CI, 10 in soak.
REPEAT   ?= 1

SUDO     := $(if $(filter 0,$(shell id -u)),,sudo -E env "PATH=$(PATH)")
BIN      := $(TARGET)/release
export CARGO_TARGET_DIR := $(TARGET)
export VIADUCT_CACHE    := $(CACHE)
export VIADUCT_BIN      := $(BIN)

.PHONY: help up down build echo deps deps-test deps-tools test soak sim fuzz lint fmt ebpf vm bench-up bench-bgp clean

help:
	@echo 'make up         build and start a cluster of $(NODES) nodes here (NODES=, NAME=, RACKS=, REFLECTOR=1)'
	@echo 'make down       stop it and remove all that it made'
	@echo 'make test       install what is missing and run every test'
	@echo 'make soak       the same tests with full repeat counts'
	@echo 'make sim        a thousand speakers, and many seeds, on a virtual network (REPEAT=10, SEED=)'
	@echo 'make fuzz       fuzz each target for FUZZ_SECONDS= (60) and keep what reaches farther'
	@echo 'make lint       formatting, clippy, the arrows between the crates, cargo-deny'
	@echo 'make ebpf       rebuild the BPF object and compare it with the committed one'
	@echo 'make vm         load, attach and try every BPF program under kernels 6.1 and 6.12'
	@echo 'make bench-up   measure a cluster: start, memory, pods, the way of a packet'
	@echo 'make bench-bgp  measure the BGP speaker beside BIRD, FRR, GoBGP and OpenBGPD (ARGS=)'

up: deps build
	@$(SUDO) $(BIN)/viaduct up --name $(NAME) --nodes $(NODES) --echo $(BIN)/viaduct-echo \
	  $(if $(RACKS),--racks $(RACKS)) $(if $(REFLECTOR),--reflector)

down:
	@$(SUDO) $(BIN)/viaduct down --name $(NAME)

build: echo
	@cargo build --release --package viaduct

# The example program is linked statically: its image holds nothing else.
echo:
	@RUSTFLAGS='-C target-feature=+crt-static -C strip=symbols' \
	  cargo build --release --package viaduct-echo --target $(shell rustc -vV | sed -n 's/host: //p') \
	  --target-dir $(TARGET)/static
	@mkdir -p $(BIN)
	@cp -u $(TARGET)/static/$(shell rustc -vV | sed -n 's/host: //p')/release/viaduct-echo $(BIN)/

deps:
	@$(SUDO) xtask/deps.sh run

deps-test:
	@$(SUDO) xtask/deps.sh run test

# Tools that cargo builds, once for each cache folder.
deps-tools:
	@xtask/tools.sh

test: deps-test build
	@$(SUDO) env REPEAT=$(REPEAT) cargo test --workspace --no-fail-fast

soak:
	@$(MAKE) test REPEAT=10

# Optimized: a thousand speakers take as long as the rest together. SEED= runs one seed alone.
sim:
	@REPEAT=$(if $(filter 1,$(REPEAT)),10,$(REPEAT)) cargo test --release --package viaduct-sim -- --nocapture

fuzz:
	@$(SUDO) xtask/deps.sh run fuzz
	@fuzz/run.sh $(or $(FUZZ_SECONDS),60)

fmt:
	@cargo fmt --all

lint: deps-tools
	@cargo fmt --all --check
	@cargo clippy --workspace --all-targets --quiet -- -D warnings
	@cargo xtask tidy
	@$(CACHE)/tools/bin/cargo-deny --log-level error check bans licenses sources

ebpf: deps-tools
	@$(SUDO) xtask/deps.sh ebpf
	@cargo xtask ebpf --check

vm:
	@$(SUDO) xtask/deps.sh vm
	@$(SUDO) cargo xtask vm

bench-up: deps-test build
	@cargo build --release --package viaduct-bench
	@$(SUDO) $(BIN)/viaduct-bench

bench-bgp: deps build
	@$(SUDO) xtask/deps.sh bench-bgp
	@cargo build --release --package viaduct-bench
	@$(SUDO) $(BIN)/viaduct-bench bgp $(ARGS)

clean:
	@cargo clean
