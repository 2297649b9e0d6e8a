//! Which routes pass to and from a peer, and as what.
//!
//! A [`Policy`] is a list of rules, tried in order. A rule that matches changes the attributes it
//! names and accepts, rejects, or lets the next rule be tried; that one sees what was changed. A route
//! that no rule accepts is rejected.
//!
//! Pure, and made for many routes: what a rule asks of the prefix alone is answered without a look at
//! the attributes ([`Policy::before_attributes`]), and what it asks of the attributes is worked out
//! once for all prefixes that share them ([`Judge`]). No expression and no list takes more than time
//! in proportion to the attributes that are looked at.

mod as_path;
mod change;
mod matches;
mod policy;
mod prefixes;
mod ranges;
mod text;
mod trial;

#[cfg(test)]
mod tests;

pub use as_path::{AsPathError, AsPathPattern, MAX_PATTERN_LEN};
pub use change::{Applied, Change, Changes, ListChange, MedChange, NextHopChange};
pub use matches::{Matches, Source};
pub use policy::{Action, Decided, Judge, Policy, Route, Rule, Verdict};
pub use prefixes::{PrefixMatch, PrefixSet};
pub use ranges::{CommunityRange, Ranged, Ranges};
pub use trial::{Step, Trial};
