//! Several paths for a prefix (RFC 7911), both ways.

mod with_bird;
mod with_others;
