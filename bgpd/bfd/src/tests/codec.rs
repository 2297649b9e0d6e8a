//! The codec, and a machine under anything.

use std::{num::NonZeroU8, time::Duration};

use proptest::{array::uniform5, collection::vec, prelude::*};

use super::harness::{One, profile};
use crate::{ControlPacket, Diagnostic, Discriminator, Interval, State};

prop_compose! {
    fn packets()(
        code in 0u8..32,
        state in 0u8..4,
        flags in uniform5(any::<bool>()),
        multiplier in 1u8..,
        mine in 1u32..,
        yours in 1u32..,
        times in uniform5(any::<u32>()),
    ) -> ControlPacket {
        let state = State::from_code(state);
        let knows_none = matches!(state, State::Down | State::AdminDown) && flags[4];
        ControlPacket {
            diagnostic: Diagnostic::from_code(code),
            state,
            poll: flags[0],
            is_final: flags[1],
            control_plane_independent: flags[2],
            demand: flags[3],
            multiplier: NonZeroU8::new(multiplier).unwrap(),
            my_discriminator: Discriminator::new(mine).unwrap(),
            your_discriminator: Discriminator::new(yours).filter(|_| !knows_none),
            desired_min_tx: Interval::from_micros(times[0]),
            required_min_rx: Interval::from_micros(times[1]),
            required_min_echo_rx: Interval::from_micros(times[2]),
        }
    }
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(packet in packets()) {
        prop_assert_eq!(ControlPacket::decode(&packet.encode()), Ok(packet));
    }

    #[test]
    fn what_is_decoded_is_encoded(octets in vec(any::<u8>(), 24)) {
        let mut octets = octets;
        // Make the most of it: valid where that is a matter of luck.
        octets[0] = octets[0] & 0x1f | 1 << 5;
        octets[1] &= !0b101;
        octets[3] = 24;
        if let Ok(packet) = ControlPacket::decode(&octets) {
            prop_assert_eq!(&packet.encode()[..], octets);
        }
    }

    #[test]
    fn no_octets_panic(payloads in vec((any::<u8>(), vec(any::<u8>(), 0..64)), 0..50)) {
        let mut one = One::new(profile(50, 50, 3));
        for (ttl, payload) in payloads {
            // A wrong packet is a counted discard.
            let _discarded = one.hear_octets(ttl, &payload);
        }
    }

    #[test]
    fn no_packets_panic(packets in vec((packets(), any::<bool>(), 0u64..5000), 0..50)) {
        let mut one = One::up(profile(50, 50, 3));
        let (began, before) = (one.now, one.sent.len());
        for (heard, (packet, ours, millis)) in (1..).zip(packets) {
            let local = one.last().my_discriminator;
            let your_discriminator = if ours { Some(local) } else { packet.your_discriminator };
            let packet = ControlPacket { your_discriminator, ..packet };
            let _discarded = one.hear_octets(255, &packet.encode());
            one.pass(Duration::from_millis(millis));
            // Whatever the peer asks for: none faster than three quarters of 50 ms, but for two that a
            // packet can cause, its answer and news of ourselves, and one that silence causes.
            let (sent, passed) = (one.sent.len() - before, one.now - began);
            prop_assert!(sent <= 1 + 3 * heard + passed.as_micros() as usize / 37_500, "{sent}");
            prop_assert!(one.bfd.poll_timeout().is_none_or(|at| at > one.now));
        }
    }
}
