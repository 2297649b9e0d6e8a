use std::time::Duration;

/// What has happened, as one number: two runs that differ anywhere differ here.
///
/// With VIADUCT_SIM_TRACE in the environment every event is printed, too.
#[derive(Clone, Copy, Debug)]
pub struct Trace {
    hash: u64,
    events: u64,
    prints: bool,
}

impl Default for Trace {
    fn default() -> Self {
        let prints = std::env::var_os("VIADUCT_SIM_TRACE").is_some();
        Self { hash: 0xcbf2_9ce4_8422_2325, events: 0, prints }
    }
}

impl Trace {
    pub const fn hash(&self) -> u64 {
        self.hash
    }

    /// How many events there were.
    pub const fn events(&self) -> u64 {
        self.events
    }

    pub(crate) fn note(&mut self, at: Duration, node: usize, what: &'static str, octets: &[u8]) {
        self.events += 1;
        self.mix(at.as_nanos() as u64);
        self.mix(node as u64);
        self.mix(what.len() as u64 ^ u64::from(what.as_bytes()[0]) << 32);
        let (words, rest) = octets.as_chunks::<8>();
        words.iter().for_each(|word| self.mix(u64::from_le_bytes(*word)));
        rest.iter().for_each(|octet| self.mix(u64::from(*octet)));
        if self.prints {
            println!("{at:?} {node} {what} {octets:02x?}");
        }
    }

    /// FNV-1a on words, with the high half folded in.
    const fn mix(&mut self, word: u64) {
        let hash = (self.hash ^ word).wrapping_mul(0x0000_0100_0000_01b3);
        self.hash = hash ^ (hash >> 32);
    }
}
