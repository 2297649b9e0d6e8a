//! BFD goes on in another process, with its discriminators and its sockets, and neither BIRD nor FRR
//! misses us.

use std::{
    io::{Read, Write},
    net::{IpAddr, Shutdown},
    os::unix::net::UnixStream,
    time::Duration,
};

use bgp_bfd::Path;
use bgp_speaker::{Config, RestartTime};
use bgpd::Predecessor;
use tempfile::TempDir;
use tokio::time::sleep;

use super::{bird_bfd, cut, every, watched, watching_bird};
use crate::{
    lab::{
        bird::Bird,
        frr::Frr,
        node::{Node, PORT, v4},
        setup::{BIRDS, OTHERS, OWN, with_bird_of, with_frr},
    },
    planned_restart::{bird_session, frr_session, replace},
    unnumbered::{
        FAR, NEAR, link_local, ours as unnumbered,
        with_bird::{bird_config, with_bird_of as with_bird_on_link},
    },
};

/// What is there by default.
const DEFAULT: [u16; 3] = [300, 300, 3];
/// As often as can be; and no less patient than that takes where the machine is busy, for it is we who are
/// looked at, and not how soon BIRD and FRR have their turn.
const OFTEN: [u16; 3] = [50, 50, 10];

/// Nothing is kept over a loss: one that is seen is seen.
fn graceless(times: [u16; 3]) -> Config {
    Config { restart_time: RestartTime::default(), ..watched(v4(2), times, Path::SingleHop) }
}

/// Ten times what a loss takes to be seen, for the machine has other things to do.
const fn ten_times([_, rx, multiplier]: [u16; 3]) -> Duration {
    Duration::from_millis(10 * rx as u64 * multiplier as u64)
}

/// BIRD's sessions of BFD and BGP, with their states, and since when.
fn bird_watches(bird: &Bird, peer: &str) -> String {
    let sessions = bird.ask("show bfd sessions");
    let line = sessions.lines().find(|line| line.starts_with(peer)).unwrap_or_default();
    let words: Vec<_> = line.split_whitespace().take(4).collect();
    assert!(words.contains(&"Up"), "{sessions}");
    format!("{} {}", words.join(" "), bird_session(bird))
}

/// Whether it is the same. BIRD works out the time of day each time: it may be a millisecond more or less.
fn is_same(before: &str, after: &str) -> bool {
    let millis = |word: &str| -> Option<i64> {
        let (day, millis) = word.split_once('.')?;
        let secs =
            day.split(':').try_fold(0, |sum, part| Some(sum * 60 + part.parse::<i64>().ok()?));
        Some(secs? * 1000 + millis.parse::<i64>().ok()?)
    };
    let is_same = |(one, other): (&str, &str)| match (millis(one), millis(other)) {
        (Some(one), Some(other)) => (one - other).abs() <= 2,
        _ => one == other,
    };
    let (before, after) = (before.split_whitespace(), after.split_whitespace());
    before.clone().count() == after.clone().count() && before.zip(after).all(is_same)
}

/// FRR's: its discriminators and what it has counted, but packets.
fn frr_watches(frr: &Frr) -> Vec<String> {
    let all = frr.ask("show bfd peers\nshow bfd peers counters");
    let of = ["ID:", "Remote ID:", "Status:", "Session up events:", "Session down events:"];
    let lines = all.lines().map(str::trim);
    lines.filter(|line| of.iter().any(|what| line.starts_with(what))).map(str::to_owned).collect()
}

impl Node {
    /// Three others go on in its place, one after the other; none of them is missed by whoever is watched.
    async fn replaced(mut self, peer: IpAddr, config: impl Fn() -> Config) -> Self {
        // FRR may have begun anew when the session of BGP came up.
        let before = self.bfd_up(peer).await;
        let flaps = self.peer(peer).await.flaps;
        for _ in 0..3 {
            self = replace(self, config(), &OWN).await;
        }
        // Longer than a loss takes to be seen.
        let detection = before.detection_micros.unwrap();
        sleep(Duration::from_micros(3 * detection)).await;
        let after = self.bfd(peer).await;
        assert_eq!((after.ups, after.downs, after.state), (before.ups, before.downs, before.state));
        assert_eq!((after.local_discriminator, after.remote_discriminator), {
            (before.local_discriminator, before.remote_discriminator)
        });
        assert_eq!((after.transmit_micros, after.detection_micros), {
            (before.transmit_micros, before.detection_micros)
        });
        assert!(after.packets_received > before.packets_received + 3);
        assert!(after.packets_sent > before.packets_sent + 3);
        assert_eq!(self.peer(peer).await.flaps, flaps);
        self
    }
}

#[test]
fn bird_misses_nobody_and_is_watched_on() {
    for times in [DEFAULT, OFTEN] {
        with_bird_of(watching_bird(times), graceless(times), async move |bird, node| {
            node.bfd_up(v4(2)).await;
            let before = bird_watches(&bird, "192.0.2.1");
            let node = node.replaced(v4(2), || graceless(times)).await;
            let after = bird_watches(&bird, "192.0.2.1");
            assert!(is_same(&before, &after), "{before}\n{after}");

            let cut_there = || bird.netns().run(cut);
            let lost = node.lost_after("bird, after restarts", BIRDS[0], cut_there).await;
            assert!(lost < ten_times(times), "{lost:?}");
            let error = node.peer(v4(2)).await.last_error.unwrap();
            assert!(error.starts_with("BFD down: "), "{error}");
        });
    }
}

#[test]
fn frr_misses_nobody_and_is_watched_on() {
    for (times, options) in [(DEFAULT, "bfd"), (OFTEN, "bfd 10 50 50")] {
        with_frr(options, "", graceless(times), async move |frr, node| {
            node.bfd_up(v4(2)).await;
            let seen = || (frr_watches(&frr), frr_session(&frr, "192.0.2.1"));
            let before = seen();
            assert_eq!(before.0.len(), 5, "{before:?}");
            let node = node.replaced(v4(2), || graceless(times)).await;
            assert_eq!(seen(), before);

            let cut_there = || frr.netns().run(cut);
            let lost = node.lost_after("frr, after restarts", OTHERS[0], cut_there).await;
            assert!(lost < ten_times(times), "{lost:?}");
        });
    }
}

#[test]
fn a_neighbour_of_an_interface_misses_nobody_either() {
    let neighbor = format!("neighbor fe80::1%'{FAR}' port {PORT} as 64512; bfd on;");
    let theirs = format!("{}{}", bird_config(&neighbor), bird_bfd(OFTEN));
    let ours = || {
        let mut ours = unnumbered(1, 64512, &[NEAR], 65001);
        ours.restart_time = RestartTime::default();
        ours.interfaces.get_mut(NEAR).unwrap().bfd = Some(every(OFTEN, Path::SingleHop));
        ours
    };
    with_bird_on_link(theirs, ours(), async move |_, bird, node| {
        node.bfd_up(link_local(2)).await;
        let before = bird_watches(&bird, "fe80::1");
        let node = node.replaced(link_local(2), ours).await;
        let after = bird_watches(&bird, "fe80::1");
        assert!(is_same(&before, &after), "{before}\n{after}");
        assert_eq!(node.bfd(link_local(2)).await.name(), "fe80::2%viaduct0");
    });
}

/// Offers itself, and is asked.
async fn handed_over(node: &Node) -> Predecessor {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("bgp-handover.sock");
    node.handle.offer(&path).unwrap();
    Predecessor::find(&path).await.unwrap().unwrap()
}

/// The speaker stands still for longer than a loss takes to be seen; BFD does not.
#[test]
fn a_handover_takes_its_time_and_may_come_to_nothing() {
    with_bird_of(watching_bird(OFTEN), graceless(OFTEN), async |bird, node| {
        let up = node.bfd_up(v4(2)).await;
        let before = bird_watches(&bird, "192.0.2.1");
        let predecessor = handed_over(&node).await;
        sleep(ten_times(OFTEN)).await;
        drop(predecessor);
        node.originate(&[OWN[0], OWN[1], "10.3.0.0/24"]);
        node.wait("it goes on", async |_| bird.routes().contains("10.3.0.0/24")).await;
        let on = node.bfd(v4(2)).await;
        assert_eq!((on.downs, on.local_discriminator), (0, up.local_discriminator));

        let predecessor = handed_over(&node).await;
        sleep(ten_times(OFTEN)).await;
        let next = Node::start_after(predecessor, graceless(OFTEN), &OWN, Vec::new()).await;
        node.handle.ended().await;
        drop(node);
        sleep(ten_times(OFTEN)).await;
        let after = bird_watches(&bird, "192.0.2.1");
        assert!(is_same(&before, &after), "{before}\n{after}");
        assert_eq!((next.bfd(v4(2)).await.downs, next.peer(v4(2)).await.flaps), (0, 0));
    });
}

/// Says that it is ready, and hears of no more.
fn die_at_the_last_moment(path: &std::path::Path) -> std::io::Result<()> {
    let mut stream = UnixStream::connect(path)?;
    let greeting = b"viaduct bgp handover";
    stream.write_all(&[&[0][..], &(greeting.len() as u32).to_be_bytes(), greeting].concat())?;
    loop {
        let mut head = [0; 5];
        stream.read_exact(&mut head)?;
        let [kind, len @ ..] = head;
        // Behind a socket's name there is an octet that it comes with.
        let octet = matches!(kind, 2 | 3 | 14);
        let mut payload = vec![0; u32::from_be_bytes(len) as usize + usize::from(octet)];
        stream.read_exact(&mut payload)?;
        if kind == 6 {
            break;
        }
    }
    stream.shutdown(Shutdown::Read)?;
    stream.write_all(&[7, 0, 0, 0, 0])
}

/// Its sessions were written down by then, and it goes on with them.
#[test]
fn a_successor_that_dies_at_the_last_moment_leaves_everything_as_it_was() {
    with_bird_of(watching_bird(OFTEN), graceless(OFTEN), async |bird, node| {
        let up = node.bfd_up(v4(2)).await;
        let before = bird_watches(&bird, "192.0.2.1");
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("bgp-handover.sock");
        node.handle.offer(&path).unwrap();
        for _ in 0..3 {
            let path = path.clone();
            tokio::task::spawn_blocking(move || die_at_the_last_moment(&path))
                .await
                .unwrap()
                .unwrap();
        }
        sleep(ten_times(OFTEN)).await;
        assert!(!node.handle.was_handed_over());
        let after = bird_watches(&bird, "192.0.2.1");
        assert!(is_same(&before, &after), "{before}\n{after}");
        let on = node.bfd(v4(2)).await;
        assert_eq!((on.downs, on.local_discriminator), (0, up.local_discriminator));
        assert!(on.packets_received > up.packets_received + 3);
        assert_eq!(node.peer(v4(2)).await.flaps, 0);
        let cut_there = || bird.netns().run(cut);
        let lost = node.lost_after("bird, after handovers", BIRDS[0], cut_there).await;
        assert!(lost < ten_times(OFTEN), "{lost:?}");
    });
}

/// The next one hears of it, though it was another that was told.
#[test]
fn a_loss_in_the_middle_of_a_handover_is_a_loss() {
    with_bird_of(watching_bird(OFTEN), graceless(OFTEN), async |bird, node| {
        node.bfd_up(v4(2)).await;
        let predecessor = handed_over(&node).await;
        bird.netns().run(cut);
        sleep(ten_times(OFTEN)).await;
        let next = Node::start_after(predecessor, graceless(OFTEN), &OWN, Vec::new()).await;
        next.wait("it is known", async |next| next.peer(v4(2)).await.flaps == 1).await;
        next.wait("nothing of it", async |next| next.hops(BIRDS[0]).is_empty()).await;
        let peer = next.peer(v4(2)).await;
        assert_eq!(peer.bfd.as_deref(), Some("Down"));
        let error = peer.last_error.unwrap();
        assert!(error.starts_with("BFD down: "), "{error}");
    });
}
