//! End-to-end tests on real clusters; all of them are in `tests/`.
