//! ebpf-abi
