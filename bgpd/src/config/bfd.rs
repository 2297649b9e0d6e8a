//! Which peers are watched by BFD, and how fast.

use bgp_bfd::{Path, Profile, ProfileError};
use bgp_speaker::BfdConfig;
use viaduct_api::v1alpha1::BFDProfile;

use super::reader::Reader;

impl Reader<'_> {
    pub(super) fn bfd(&mut self, place: &str, spec: Option<&BFDProfile>) -> Option<BfdConfig> {
        let spec = spec?;
        let (tx, rx) = (spec.min_transmit_milliseconds, spec.min_receive_milliseconds);
        let profile = Profile::new(tx, rx, spec.multiplier).unwrap_or_else(|error| {
            let field = match error {
                ProfileError::Transmit(_) => "minTransmitMilliseconds",
                ProfileError::Receive(_) => "minReceiveMilliseconds",
                ProfileError::Multiplier(_) => "multiplier",
            };
            self.wrong(format!("{place}.{field}"), error.to_string());
            Profile::default()
        });
        let path = if spec.multihop { Path::Multihop } else { Path::SingleHop };
        Some(BfdConfig { path, profile })
    }
}
