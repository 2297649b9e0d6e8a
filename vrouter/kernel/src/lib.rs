//! vrouter-kernel
