//! How fast a loss of a neighbour is seen.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A BFD session beside a BGP session (RFC 5880, RFC 5882). The times are what this side offers; the
/// slower of both sides' holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BFDProfile {
    /// Between the packets that are sent; at least 50.
    #[serde(default = "interval_millis")]
    #[schemars(range(min = 50, max = 60_000))]
    pub min_transmit_milliseconds: u16,
    /// Between the packets that can be taken; at least 50.
    #[serde(default = "interval_millis")]
    #[schemars(range(min = 50, max = 60_000))]
    pub min_receive_milliseconds: u16,
    /// After the time of so many of our packets without one the neighbour takes us for lost.
    #[serde(default = "multiplier")]
    #[schemars(range(min = 1, max = 255))]
    pub multiplier: u16,
    /// Routers stand between us and the neighbour (RFC 5883). Without it packets that have passed one
    /// are refused.
    #[serde(default)]
    pub multihop: bool,
}

impl Default for BFDProfile {
    fn default() -> Self {
        Self {
            min_transmit_milliseconds: interval_millis(),
            min_receive_milliseconds: interval_millis(),
            multiplier: multiplier(),
            multihop: false,
        }
    }
}

const fn interval_millis() -> u16 {
    300
}

const fn multiplier() -> u16 {
    3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_profile_is_the_default_one() {
        assert_eq!(serde_json::from_str::<BFDProfile>("{}").unwrap(), BFDProfile::default());
        assert!(serde_json::from_str::<BFDProfile>(r#"{"echo": true}"#).is_err());
    }
}
