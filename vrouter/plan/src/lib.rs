//! vrouter-plan
