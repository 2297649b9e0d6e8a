//! viaduct-lab
