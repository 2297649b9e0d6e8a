//! viaduct-e2e
