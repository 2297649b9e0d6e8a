//! Files of ours as others read them, and files of others as we do.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use bgpd::{Monitoring, Recording};

use super::files::{replay, write_table};
use crate::lab::{
    netns::output,
    node::{Node, config, v4},
    setup::{BIRDS, OWN, with_addresses, with_bird, with_frr},
};

/// The table of a node in a file.
async fn dump(node: &Node, folder: &Path) -> PathBuf {
    let file = folder.join("rib.mrt");
    let mut octets = Vec::new();
    let mut dump = node.handle.dump();
    while let Some(piece) = dump.next().await.unwrap() {
        octets.extend_from_slice(&piece);
    }
    fs::write(&file, octets).unwrap();
    file
}

/// One line for each path or message, its fields separated by `|`; without the time.
fn bgpdump(file: &Path) -> Vec<String> {
    let text = output(Command::new("bgpdump").arg("-m").arg(file));
    let line = |line: &str| {
        let fields: Vec<_> = line.split('|').collect();
        [&fields[..1], &fields[2..]].concat().join("|")
    };
    text.lines().map(line).collect()
}

/// What the scripts around mrtparse print.
fn mrtparse(file: &Path) -> String {
    // Debian's module is Debian's Python's, which need not be the first one of the path.
    output(Command::new("/usr/bin/python3").arg("/usr/bin/mrt-print-all").arg(file))
}

/// The prefixes that come from a file, with their AS paths.
async fn replayed(node: &Node) -> Vec<(String, String)> {
    let paths = node.handle.routes().await.unwrap();
    let from_file = paths
        .into_iter()
        .filter(|path| path.replayed.as_ref().is_some_and(|name| name.starts_with("mrt:")));
    from_file.map(|path| (path.prefix.to_string(), path.as_path)).collect()
}

#[test]
fn a_table_of_ours_is_read_by_others_and_by_ourselves() {
    with_bird(65001, 64512, async |_bird, node| {
        let folder = tempfile::tempdir().unwrap();
        let file = dump(&node, folder.path()).await;
        let mut lines = bgpdump(&file);
        lines.sort();
        let own = |prefix, next_hop| {
            format!("TABLE_DUMP2|B|0.0.0.0|64512|{prefix}||IGP|{next_hop}|0|0||NAG||")
        };
        let birds = |prefix, next_hop| {
            format!("TABLE_DUMP2|B|192.0.2.2|65001|{prefix}|65001|IGP|{next_hop}|0|0||NAG||")
        };
        let mut expected = [
            own(OWN[0], "192.0.2.1"),
            own(OWN[1], "2001:db8::1"),
            birds(BIRDS[0], "192.0.2.2"),
            birds(BIRDS[1], "2001:db8::2"),
        ];
        expected.sort();
        assert_eq!(lines, expected);
        let text = mrtparse(&file);
        assert!(text.contains("PEER_INDEX_TABLE") && !text.contains("Error"), "{text}");
        for bird in BIRDS {
            let address = bird.split_once('/').unwrap().0;
            assert!(text.contains(&format!("Prefix: {address}\n")), "{bird} is not in\n{text}");
        }

        // Replayed by the same speaker: BIRD's paths once more, our own as somebody's.
        node.handle.replay(vec![replay(&file, 65009)]).await.unwrap();
        node.wait("replayed", async |node| replayed(node).await.len() == 4).await;
        let paths = replayed(&node).await;
        assert!(paths.contains(&(BIRDS[1].to_owned(), "65001".to_owned())), "{paths:?}");
        // And gone when it is no more wanted.
        node.handle.replay(Vec::new()).await.unwrap();
        node.wait("not replayed", async |node| replayed(node).await.is_empty()).await;
    });
}

#[test]
fn updates_of_ours_are_read_by_others_and_by_ourselves() {
    with_bird(65001, 64512, async |bird, node| {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("updates.mrt");
        let recording = Recording { file: file.clone(), rotate_after: None, rotate_bytes: None };
        let recording = Some(recording);
        node.handle.monitor(Monitoring { recording, ..Monitoring::default() }).await.unwrap();
        bird.ask("disable static4");
        node.wait("withdrawn by bird", async |node| node.hops(BIRDS[0]).is_empty()).await;
        bird.ask("disable viaduct");
        node.wait("session down", async |node| !node.established(v4(2)).await).await;
        bird.ask("enable viaduct");
        bird.wait_for_ours(&node).await;
        bird.ask("enable static4");
        node.wait("bird's routes", async |node| node.hops(BIRDS[0]) == [v4(2)]).await;
        let wanted = [
            format!("BGP4MP_ET|W|192.0.2.2|65001|{}", BIRDS[0]),
            "BGP4MP_ET|STATE|192.0.2.2|65001|6|1".to_owned(),
            "BGP4MP_ET|STATE|192.0.2.2|65001|5|6".to_owned(),
            format!("BGP4MP_ET|A|192.0.2.2|65001|{}|65001|IGP|192.0.2.2|0|0||NAG||", BIRDS[0]),
            format!("BGP4MP_ET|A|192.0.2.2|65001|{}|65001|IGP|2001:db8::2|0|0||NAG||", BIRDS[1]),
        ];
        node.wait("all is on disk", async |_| {
            file.exists() && {
                let lines = bgpdump(&file);
                wanted.iter().all(|wanted| lines.contains(wanted))
            }
        })
        .await;
        node.handle.replay(vec![replay(&file, 65009)]).await.unwrap();
        node.wait("replayed", async |node| replayed(node).await.len() == 2).await;
    });
}

#[test]
fn a_table_of_bird_is_replayed() {
    with_bird(65001, 64512, async |bird, node| {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("bird.mrt");
        for (table, name) in [("master4", "4"), ("master6", "6")] {
            let file = folder.path().join(name);
            bird.ask(&format!("mrt dump table \"{table}\" to \"{}\"", file.display()));
        }
        // BIRD answers first and writes then.
        let is_there = |name: &str, own: &str| {
            let file = folder.path().join(name);
            file.exists() && bgpdump(&file).iter().any(|line| line.contains(own))
        };
        node.wait("bird's files", async |_| is_there("4", OWN[0]) && is_there("6", OWN[1])).await;
        let read = |name: &str| fs::read(folder.path().join(name)).unwrap();
        fs::write(&file, [read("4"), read("6")].concat()).unwrap();
        // A speaker of its own, with no session at all.
        let ours = config(1, 64513, &[]);
        let node = Node::start(bgp_speaker::Config { listen_port: 1791, ..ours }, &[]);
        node.handle.replay(vec![replay(&file, 64513)]).await.unwrap();
        let expected = OWN.map(|own| (own.to_owned(), "64512".to_owned()));
        node.wait("replayed", async |node| {
            let paths = replayed(node).await;
            expected.iter().all(|expected| paths.contains(expected))
        })
        .await;
    });
}

#[test]
fn a_table_and_updates_of_frr_are_replayed() {
    let ours = config(1, 64512, &[(v4(2), 65001)]);
    with_frr("", "", ours, async |frr, node| {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777))
            .unwrap();
        let table = folder.path().join("frr.mrt");
        let updates = folder.path().join("frr-updates.mrt");
        frr.ask(&format!(
            "configure terminal\ndump bgp routes-mrt {} 1\ndump bgp updates {}\nend",
            table.display(),
            updates.display()
        ));
        let ends = |file: &Path, wanted: &str| {
            file.exists() && bgpdump(file).iter().any(|line| line.contains(wanted))
        };
        node.wait("frr's table", async |_| ends(&table, OWN[1])).await;
        node.originate(&["10.3.0.0/24"]);
        node.wait("frr's updates", async |_| ends(&updates, "10.3.0.0/24")).await;
        let other = config(1, 64513, &[]);
        let other = Node::start(bgp_speaker::Config { listen_port: 1791, ..other }, &[]);
        other.handle.replay(vec![replay(&table, 64513)]).await.unwrap();
        let expected = OWN.map(|own| (own.to_owned(), "64512".to_owned()));
        other
            .wait("table replayed", async |node| {
                let paths = replayed(node).await;
                expected.iter().all(|expected| paths.contains(expected))
            })
            .await;
        other.handle.replay(vec![replay(&updates, 64513)]).await.unwrap();
        let expected = [("10.3.0.0/24".to_owned(), "64512".to_owned())];
        other.wait("updates replayed", async |node| replayed(node).await == expected).await;
    });
}

/// A table of 50,000 routes is replayed without a session and told on to a client.
#[test]
fn a_long_table_is_replayed_and_told_to_a_peer() {
    const ROUTES: u32 = 50_000;
    with_addresses(&[1, 2], async || {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("long.mrt");
        write_table(&file, ROUTES);
        let ours = config(1, 64512, &[(v4(2), 64512)]);
        let node = Node::start(ours, &[]);
        let peer = Node::start(config(2, 64512, &[(v4(1), 64512)]), &[]);
        node.wait("a session", async |node| node.established(v4(2)).await).await;
        let begun = std::time::Instant::now();
        node.handle.replay(vec![replay(&file, 64512)]).await.unwrap();
        peer.wait("all is told", async |peer| {
            peer.peer(v4(1)).await.prefixes_received == ROUTES as usize
        })
        .await;
        println!("{ROUTES} routes replayed and told in {:?}", begun.elapsed());
    });
}
