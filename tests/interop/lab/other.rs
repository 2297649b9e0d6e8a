//! Any of the other makers' daemons as 192.0.2.2, for what is asked of each of them in the same words.

use std::sync::Arc;

use bgp_speaker::Config;

use super::{
    bird::Bird,
    exabgp::ExaBgp,
    frr::{Frr, FrrConfig},
    gobgp::{GOBGPS, GoBgp},
    netns::{Netns, isolated},
    node::{Node, v4, v6},
    openbgpd::OpenBgpd,
    setup::{OTHERS, OWN, bird_config, frr_config},
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
}

impl Theirs {
    pub(crate) fn new(maker: Maker, neighbour: &'static str) -> Self {
        Self { maker, asn: 65001, neighbour, globals: "" }
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
        let Theirs { maker, asn, neighbour, globals } = theirs;
        match maker {
            Maker::Bird => {
                Self::Bird(Bird::start(netns, &bird_config(asn, peer_asn, neighbour, globals)))
            }
            Maker::Frr => {
                let bgpd = frr_config(asn, peer_asn, neighbour, globals);
                Self::Frr(Frr::start(netns, FrrConfig { bgpd: &bgpd, bfdd: "" }))
            }
            Maker::GoBgp => {
                let options = format!("{neighbour}|{globals}");
                Self::GoBgp(GoBgp::start(netns, asn, peer_asn, &options))
            }
            Maker::OpenBgpd => {
                Self::OpenBgpd(OpenBgpd::start(netns, asn, peer_asn, neighbour, globals))
            }
            Maker::ExaBgp => Self::ExaBgp(ExaBgp::start(netns, asn, peer_asn, neighbour, globals)),
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
    isolated(move || {
        let netns = Arc::new(Netns::new());
        netns.link(1, 2);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let other = Other::start(netns, theirs, ours.asn.to_u32());
            let node = Node::start(ours, &OWN);
            test(other, node).await;
        });
    });
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
