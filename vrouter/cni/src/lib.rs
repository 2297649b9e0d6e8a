//! vrouter-cni
