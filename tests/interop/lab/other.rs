//! Any of the other makers' daemons as 192.0.2.2, for what is asked of each of them in the same words.

use std::sync::Arc;

use bgp_speaker::Config;

use super::{
    bird::Bird,
    exabgp::ExaBgp,
    frr::{Frr, FrrConfig},
    gobgp::{GOBGPS, GoBgp},
    netns::{Netns, ip},
    node::{Node, PORT, v4, v6},
    openbgpd::OpenBgpd,
    setup::{OTHERS, OWN, bird_config, frr_config, linked},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Maker {
    Bird,
    Frr,
    GoBgp,
    OpenBgpd,
    ExaBgp,
}

/// A daemon that is to be started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Theirs {
    pub(crate) maker: Maker,
    pub(crate) asn: u32,
    /// What its configuration says of the neighbour beyond addresses, AS and families.
    pub(crate) neighbour: &'static str,
    /// What stands beside that: for GoBGP tables below the neighbour, for ExaBGP the routes.
    pub(crate) globals: &'static str,
    pub(crate) also: &'static [Also],
    /// What it takes us for, where that is not the AS we have.
    pub(crate) peer_asn: Option<u32>,
    /// The session is between 2001:db8::2 and 2001:db8::1. For GoBGP and ExaBGP.
    pub(crate) over_v6: bool,
}

/// One more neighbour, 192.0.2.N, of an AS, with options of its own. Not for ExaBGP.
pub(crate) type Also = (u8, u32, &'static str);

impl Theirs {
    pub(crate) const fn new(maker: Maker, neighbour: &'static str) -> Self {
        Self {
            maker,
            asn: 65001,
            neighbour,
            globals: "",
            also: &[],
            peer_asn: None,
            over_v6: false,
        }
    }
}

pub(crate) enum Other {
    Bird(Bird),
    Frr(Frr),
    GoBgp(GoBgp),
    OpenBgpd(OpenBgpd),
    ExaBgp(ExaBgp),
}

impl Other {
    pub(crate) fn start(netns: Arc<Netns>, theirs: Theirs, peer_asn: u32) -> Self {
        let Theirs { maker, asn, neighbour, globals, also, peer_asn: seen_as, over_v6 } = theirs;
        let ends =
            if over_v6 { ["2001:db8::2", "2001:db8::1"] } else { ["192.0.2.2", "192.0.2.1"] };
        let peer_asn = seen_as.unwrap_or(peer_asn);
        match maker {
            Maker::Bird => {
                let more = also.iter().map(|&(number, peer_asn, options)| {
                    format!(
                        "protocol bgp n{number} from common {{
                             neighbor 192.0.2.{number} port {PORT} as {peer_asn}; {options}
                         }}\n"
                    )
                });
                let globals = more.collect::<String>() + globals;
                Self::Bird(Bird::start(netns, &bird_config(asn, peer_asn, neighbour, &globals)))
            }
            Maker::Frr => {
                let more = also.iter().map(|also| frr_neighbour(asn, also));
                let globals = more.collect::<String>() + globals;
                let bgpd = frr_config(asn, peer_asn, neighbour, &globals);
                Self::Frr(Frr::start(netns, FrrConfig { bgpd: &bgpd, bfdd: "" }))
            }
            Maker::GoBgp => {
                let options = format!("{neighbour}|{globals}");
                Self::GoBgp(GoBgp::start(netns, asn, (ends, peer_asn, &options), also))
            }
            Maker::OpenBgpd => {
                Self::OpenBgpd(OpenBgpd::start(netns, asn, peer_asn, neighbour, globals, also))
            }
            Maker::ExaBgp => {
                Self::ExaBgp(ExaBgp::start(netns, asn, (ends, peer_asn, neighbour), globals))
            }
        }
    }

    pub(crate) fn maker(&self) -> Maker {
        match self {
            Self::Bird(_) => Maker::Bird,
            Self::Frr(_) => Maker::Frr,
            Self::GoBgp(_) => Maker::GoBgp,
            Self::OpenBgpd(_) => Maker::OpenBgpd,
            Self::ExaBgp(_) => Maker::ExaBgp,
        }
    }

    /// What each of them announces.
    pub(crate) fn own(&self) -> [&'static str; 2] {
        if matches!(self, Self::GoBgp(_)) { GOBGPS } else { OTHERS }
    }

    /// Has it take back its IPv4 route.
    pub(crate) fn withdraw(&self) {
        let told = self.own()[0];
        match self {
            Self::Bird(bird) => drop(bird.ask("disable static4")),
            Self::Frr(frr) => drop(frr.ask(&format!("configure\nrouter bgp\nno network {told}"))),
            Self::GoBgp(gobgp) => drop(gobgp.ask(&format!("global rib del {told}"))),
            Self::OpenBgpd(bgpd) => drop(bgpd.ask(&format!("network delete {told}"))),
            Self::ExaBgp(exabgp) => {
                exabgp.order(&format!("withdraw route {told} next-hop 192.0.2.2"))
            }
        }
    }

    /// Has OpenBGPD try again at once after an error, which it does after half a minute otherwise.
    pub(crate) fn retry(&self) {
        if let Self::OpenBgpd(bgpd) = self {
            bgpd.ask("neighbor 192.0.2.1 clear");
        }
    }

    /// Has it ask for everything again (RFC 2918).
    pub(crate) fn refresh(&self) {
        match self {
            Self::Bird(bird) => drop(bird.ask("reload in viaduct")),
            Self::Frr(frr) => {
                drop(frr.ask("clear bgp ipv4 unicast 192.0.2.1 soft in"));
                drop(frr.ask("clear bgp ipv6 unicast 192.0.2.1 soft in"));
            }
            Self::GoBgp(_) => unreachable!("it asks itself alone"),
            Self::OpenBgpd(bgpd) => drop(bgpd.ask("neighbor 192.0.2.1 refresh")),
            Self::ExaBgp(exabgp) => {
                exabgp.order("announce route-refresh ipv4 unicast");
                exabgp.order("announce route-refresh ipv6 unicast");
            }
        }
    }

    pub(crate) fn has_ours(&self) -> bool {
        OWN.iter().all(|own| !self.seen(own).is_empty())
    }

    /// What it has written of what happened.
    pub(crate) fn log(&self) -> String {
        match self {
            Self::Bird(bird) => bird.log(),
            Self::Frr(frr) => frr.log("bgpd"),
            Self::GoBgp(gobgp) => gobgp.log(),
            Self::OpenBgpd(bgpd) => bgpd.log(),
            Self::ExaBgp(exabgp) => exabgp.log(),
        }
    }
}

/// More of FRR's configuration: a neighbour, whose options are lines below both families.
fn frr_neighbour(asn: u32, &(number, peer_asn, options): &Also) -> String {
    let name = format!("neighbor 192.0.2.{number}");
    let lines: String = options.lines().map(|line| format!("  {name} {}\n", line.trim())).collect();
    let families = ["ipv4", "ipv6"].map(|family| {
        format!(
            " address-family {family} unicast\n  {name} activate\n{lines} exit-address-family\n"
        )
    });
    format!(
        "router bgp {asn}
 {name} remote-as {peer_asn}
 {name} port {PORT}
 {name} timers 3 9
 {name} timers connect 1
{}exit\n",
        families.concat()
    )
}

/// One of them and a node as `ours` with a session, both in sync, on one thread.
pub(crate) fn with_other(
    theirs: Theirs,
    ours: Config,
    test: impl AsyncFnOnce(Other, Node) + Send + 'static,
) {
    beside(theirs, ours, async |other, node| {
        in_sync(&other, &node).await;
        test(other, node).await;
    });
}

/// The same before there is a session.
pub(crate) fn beside(
    theirs: Theirs,
    ours: Config,
    test: impl AsyncFnOnce(Other, Node) + Send + 'static,
) {
    linked(async move |netns| {
        let other = Other::start(netns, theirs, ours.asn.to_u32());
        let node = Node::start(ours, &OWN);
        test(other, node).await;
    });
}

/// The addresses 192.0.2.N and 2001:db8::N of more nodes of ours on the link to the other.
pub(crate) fn also_at(numbers: &[u8]) {
    for number in numbers {
        ip(&format!("addr add 192.0.2.{number}/24 dev viaduct0"));
        ip(&format!("addr add 2001:db8::{number}/64 dev viaduct0 nodad"));
    }
}

/// Waits until each has what the other announces.
pub(crate) async fn in_sync(other: &Other, node: &Node) {
    let own = other.own();
    node.wait("the other's routes", async |node| {
        node.hops(own[0]) == [v4(2)] && node.hops(own[1]) == [v6(2)]
    })
    .await;
    let maker = other.maker();
    node.wait(&format!("{maker:?} has ours"), async |_| other.has_ours()).await;
}

impl Drop for Other {
    /// Its side of it, where a test fails.
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{:?} has written:\n{}", self.maker(), self.log());
        }
    }
}
