//! Long-lived graceful restart (RFC 9494).

mod with_bird;
mod with_others;
