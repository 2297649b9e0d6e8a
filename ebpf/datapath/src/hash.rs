use ebpf_abi::FlowKey;

/// A hash of a flow as the client sends it, the same on every node, so that a flow which arrives
/// at another node after a change of ECMP chooses the same backend from the same table.
///
/// The mixing is that of MurmurHash3 (32 bits): a few multiplications a word, and every bit of the
/// input reaches the low bits, which the remainder uses.
#[inline(never)]
pub fn hash(key: &FlowKey) -> u32 {
    let mut state = u32::from(key.protocol);
    state = mix(state, key.source.words_be[0]);
    state = mix(state, key.source.words_be[1]);
    state = mix(state, key.source.words_be[2]);
    state = mix(state, key.source.words_be[3]);
    state = mix(state, key.destination.words_be[0]);
    state = mix(state, key.destination.words_be[1]);
    state = mix(state, key.destination.words_be[2]);
    state = mix(state, key.destination.words_be[3]);
    state = mix(state, u32::from(key.source_port_be) << 16 | u32::from(key.destination_port_be));
    state ^= state >> 16;
    state = state.wrapping_mul(0x85eb_ca6b);
    state ^= state >> 13;
    state = state.wrapping_mul(0xc2b2_ae35);
    state ^ state >> 16
}

#[inline(always)]
fn mix(state: u32, word: u32) -> u32 {
    let word = word.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593);
    (state ^ word).rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64)
}

#[cfg(test)]
mod tests {
    use core::net::Ipv4Addr;

    use super::*;

    /// Ports of one client that count up, as they do: the worst of the common inputs.
    #[test]
    fn successive_ports_spread_evenly() {
        let mut key = FlowKey {
            source: Ipv4Addr::new(192, 0, 2, 7).into(),
            destination: Ipv4Addr::new(10, 100, 0, 1).into(),
            destination_port_be: 80_u16.to_be(),
            protocol: 6,
            ..FlowKey::default()
        };
        let mut buckets = [0_u32; 3];
        for port in 32768_u16..33768 {
            key.source_port_be = port.to_be();
            buckets[(hash(&key) % 1021) as usize % 3] += 1;
        }
        for bucket in buckets {
            assert!((270..=400).contains(&bucket), "{buckets:?}");
        }
    }
}
