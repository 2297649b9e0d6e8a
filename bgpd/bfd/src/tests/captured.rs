//! Packets between BIRD 2.0.12 (80/70 ms, multiplier 5) and FRR 8.4.4 (50/60 ms, multiplier 3), as
//! they were on the wire from the first to the end of the Poll Sequences.

use crate::{ControlPacket, Diagnostic, Discriminator, Interval, State};

const BIRD: u32 = 0xb1d9_5b8a;
const FRR: u32 = 0xe99c_346c;

struct Expected {
    octets: &'static str,
    state: State,
    poll: bool,
    is_final: bool,
    multiplier: u8,
    mine: u32,
    yours: Option<u32>,
    /// Sending, taking, echo; milliseconds.
    times: [u16; 3],
}

const CAPTURED: [Expected; 6] = [
    Expected {
        octets: "20400518b1d95b8a00000000000f42400001117000000000",
        state: State::Down,
        poll: false,
        is_final: false,
        multiplier: 5,
        mine: BIRD,
        yours: None,
        times: [1000, 70, 0],
    },
    Expected {
        octets: "20800318e99c346cb1d95b8a000f4240000f42400000c350",
        state: State::Init,
        poll: false,
        is_final: false,
        multiplier: 3,
        mine: FRR,
        yours: Some(BIRD),
        times: [1000, 1000, 50],
    },
    Expected {
        octets: "20e00518b1d95b8ae99c346c000138800001117000000000",
        state: State::Up,
        poll: true,
        is_final: false,
        multiplier: 5,
        mine: BIRD,
        yours: Some(FRR),
        times: [80, 70, 0],
    },
    Expected {
        octets: "20d00318e99c346cb1d95b8a0000c3500000ea600000c350",
        state: State::Up,
        poll: false,
        is_final: true,
        multiplier: 3,
        mine: FRR,
        yours: Some(BIRD),
        times: [50, 60, 50],
    },
    Expected {
        octets: "20d00518b1d95b8ae99c346c000138800001117000000000",
        state: State::Up,
        poll: false,
        is_final: true,
        multiplier: 5,
        mine: BIRD,
        yours: Some(FRR),
        times: [80, 70, 0],
    },
    Expected {
        octets: "20c00318e99c346cb1d95b8a0000c3500000ea600000c350",
        state: State::Up,
        poll: false,
        is_final: false,
        multiplier: 3,
        mine: FRR,
        yours: Some(BIRD),
        times: [50, 60, 50],
    },
];

#[test]
fn packets_of_others_are_read_and_written_to_the_octet() {
    for expected in CAPTURED {
        let octets: Vec<_> = (0..expected.octets.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&expected.octets[at..at + 2], 16).unwrap())
            .collect();
        let [tx, rx, echo] = expected.times.map(Interval::from_millis);
        let packet = ControlPacket {
            diagnostic: Diagnostic::NoDiagnostic,
            state: expected.state,
            poll: expected.poll,
            is_final: expected.is_final,
            control_plane_independent: false,
            demand: false,
            multiplier: expected.multiplier.try_into().unwrap(),
            my_discriminator: expected.mine.try_into().unwrap(),
            your_discriminator: expected.yours.and_then(Discriminator::new),
            desired_min_tx: tx,
            required_min_rx: rx,
            required_min_echo_rx: echo,
        };
        assert_eq!(ControlPacket::decode(&octets), Ok(packet));
        assert_eq!(&packet.encode()[..], octets);
    }
}
