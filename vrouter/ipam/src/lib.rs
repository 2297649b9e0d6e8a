//! vrouter-ipam
