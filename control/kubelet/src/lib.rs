//! control-kubelet
