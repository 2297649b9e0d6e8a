//! ebpf-datapath
