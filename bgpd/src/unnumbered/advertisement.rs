//! Router solicitations and advertisements (RFC 4861 §4.1, §4.2), as far as neighbours are found by
//! them. What they say to hosts is of no concern here: whoever advertises is a router.

use std::net::Ipv6Addr;

/// ff02::1
pub(super) const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// ff02::2
pub(super) const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);

pub(super) const ROUTER_SOLICITATION: u8 = 133;
pub(super) const ROUTER_ADVERTISEMENT: u8 = 134;

/// Only what no router has sent on arrives with this (RFC 4861 §3.1).
pub(super) const HOP_LIMIT: u8 = 255;

/// What we advertise: nothing but that we are there. Hop limit, flags, lifetime and times are zero,
/// which is "unspecified", and by the lifetime no host takes us for its default router. The kernel
/// fills in the checksum.
pub(super) const ADVERTISEMENT: [u8; 16] =
    [ROUTER_ADVERTISEMENT, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
pub(super) const SOLICITATION: [u8; 8] = [ROUTER_SOLICITATION, 0, 0, 0, 0, 0, 0, 0];

/// The option that a solicitation without a source must not have.
const SOURCE_LINK_LAYER_ADDRESS: u8 = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// From a host, or a router that looks for others; without a source from one that has no address
    /// yet.
    Solicitation {
        from: Option<Ipv6Addr>,
    },
    Advertisement {
        from: Ipv6Addr,
    },
}

/// Which rule of RFC 4861 §6.1 a message breaks; it is to be discarded without a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Invalid {
    #[error("hop limit {0}: it has passed a router")]
    HopLimit(u8),
    #[error("source {0} is not link-local")]
    Source(Ipv6Addr),
    #[error("{0} octets are too short")]
    Length(usize),
    #[error("type {0} is none of discovery by routers")]
    Type(u8),
    #[error("code {0}")]
    Code(u8),
    #[error("an option without a length, or longer than the message")]
    Option,
    #[error("a link-layer address without a source")]
    LinkLayerAddress,
}

/// Reads an ICMPv6 message whose checksum the kernel has found right.
pub(super) fn parse(octets: &[u8], from: Ipv6Addr, hop_limit: u8) -> Result<Message, Invalid> {
    if hop_limit != HOP_LIMIT {
        return Err(Invalid::HopLimit(hop_limit));
    }
    let [kind, code, ..] = *octets else { return Err(Invalid::Length(octets.len())) };
    let header_len = match kind {
        ROUTER_SOLICITATION => SOLICITATION.len(),
        ROUTER_ADVERTISEMENT => ADVERTISEMENT.len(),
        kind => return Err(Invalid::Type(kind)),
    };
    if code != 0 {
        return Err(Invalid::Code(code));
    }
    let mut options = octets.get(header_len..).ok_or(Invalid::Length(octets.len()))?;
    let mut has_link_layer_address = false;
    while let [option, units, ..] = *options {
        let len = usize::from(units) * 8;
        options = options.get(len..).filter(|_| len > 0).ok_or(Invalid::Option)?;
        has_link_layer_address |= option == SOURCE_LINK_LAYER_ADDRESS;
    }
    if !options.is_empty() {
        return Err(Invalid::Option);
    }
    match kind {
        ROUTER_SOLICITATION if from.is_unspecified() && has_link_layer_address => {
            Err(Invalid::LinkLayerAddress)
        }
        ROUTER_SOLICITATION => {
            Ok(Message::Solicitation { from: Some(from).filter(|from| !from.is_unspecified()) })
        }
        _ if from.is_unicast_link_local() => Ok(Message::Advertisement { from }),
        _ => Err(Invalid::Source(from)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NEIGHBOUR: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2);

    #[test]
    fn what_we_send_is_understood() {
        let advertisement = parse(&ADVERTISEMENT, NEIGHBOUR, 255);
        assert_eq!(advertisement, Ok(Message::Advertisement { from: NEIGHBOUR }));
        assert_eq!(parse(&SOLICITATION, NEIGHBOUR, 255), {
            Ok(Message::Solicitation { from: Some(NEIGHBOUR) })
        });
        let nobody = Ipv6Addr::UNSPECIFIED;
        assert_eq!(parse(&SOLICITATION, nobody, 255), Ok(Message::Solicitation { from: None }));
    }

    /// RFC 4861 §6.1.1 and §6.1.2, rule by rule.
    #[test]
    fn what_breaks_a_rule_is_discarded() {
        let advertisement = |octets: &[u8]| parse(octets, NEIGHBOUR, 255);
        assert_eq!(parse(&ADVERTISEMENT, NEIGHBOUR, 254), Err(Invalid::HopLimit(254)));
        let global = "2001:db8::2".parse().unwrap();
        assert_eq!(parse(&ADVERTISEMENT, global, 255), Err(Invalid::Source(global)));
        assert_eq!(advertisement(&ADVERTISEMENT[..15]), Err(Invalid::Length(15)));
        assert_eq!(advertisement(&[]), Err(Invalid::Length(0)));
        assert_eq!(advertisement(&[135, 0, 0, 0]), Err(Invalid::Type(135)));
        let mut octets = ADVERTISEMENT.to_vec();
        octets[1] = 1;
        assert_eq!(advertisement(&octets), Err(Invalid::Code(1)));
        let with = |option: &[u8]| [&ADVERTISEMENT[..], option].concat();
        let mac = [1, 1, 0x56, 0x44, 0, 0, 0, 1];
        assert!(advertisement(&with(&mac)).is_ok());
        for option in [&[1, 0, 0, 0, 0, 0, 0, 0][..], &[1, 2, 0, 0, 0, 0, 0, 0], &[1]] {
            assert_eq!(advertisement(&with(option)), Err(Invalid::Option), "{option:?}");
        }
        let solicitation = [&SOLICITATION[..], &mac].concat();
        assert!(parse(&solicitation, NEIGHBOUR, 255).is_ok());
        let nobody = Ipv6Addr::UNSPECIFIED;
        assert_eq!(parse(&solicitation, nobody, 255), Err(Invalid::LinkLayerAddress));
    }

    proptest! {
        #[test]
        fn nothing_that_arrives_panics(
            kind in prop_oneof![Just(133_u8), Just(134), any::<u8>()],
            code in prop_oneof![Just(0_u8), any::<u8>()],
            rest in proptest::collection::vec(any::<u8>(), 0..200),
            from in any::<u128>(),
        ) {
            let octets = [&[kind, code][..], &rest].concat();
            let from = Ipv6Addr::from(from);
            if let Ok(Message::Advertisement { from }) = parse(&octets, from, 255) {
                prop_assert!(from.is_unicast_link_local() && octets.len() >= 16);
            }
        }
    }
}
