use super::*;
use crate::rib::watch::Changes as Watched;

fn watched(paths: &[(PeerId, &str)], best: &[&str]) -> Watched {
    let paths = paths.iter().map(|(peer, text)| (*peer, nlri(text)));
    Watched { paths: paths.collect(), best: best.iter().map(|text| prefix(text)).collect() }
}

#[test]
fn what_changes_is_named_where_somebody_watches() {
    let mut rib = rib();
    let a = rib.add_peer(peer("192.0.2.1", 65001));
    let b = rib.add_peer(peer("192.0.2.2", 65002));
    announce(&mut rib, a, &path(&[65001]), "192.0.2.1", &["10.0.0.0/8"]);
    rib.settle();
    assert!(rib.take_changes().is_empty());

    rib.watch(true);
    announce(&mut rib, a, &path(&[65001]), "192.0.2.1", &["10.0.0.0/8", "10.1.0.0/16"]);
    announce(&mut rib, b, &path(&[65002, 65003]), "192.0.2.2", &["10.0.0.0/8"]);
    rib.settle();
    // What was known is not named, and a path that has lost changes nothing of the best.
    let expected = watched(&[(a, "10.1.0.0/16"), (b, "10.0.0.0/8")], &["10.1.0.0/16"]);
    assert_eq!(rib.take_changes(), expected);
    assert!(rib.take_changes().is_empty());
    assert_eq!(rib.import_counters(a).duplicate_prefixes, 1);

    rib.withdraw(a, &[nlri("10.0.0.0/8"), nlri("10.9.0.0/16")]);
    rib.settle();
    assert_eq!(rib.take_changes(), watched(&[(a, "10.0.0.0/8")], &["10.0.0.0/8"]));
    assert!(rib.path(a, nlri("10.0.0.0/8")).is_none());
    assert!(rib.path(b, nlri("10.0.0.0/8")).unwrap().accepted);
}

#[test]
fn another_verdict_of_import_is_named_too() {
    let mut rib = rib();
    let a = rib.add_peer(peer("192.0.2.1", 65001));
    announce(&mut rib, a, &path(&[65001]), "192.0.2.1", &["10.0.0.0/8"]);
    rib.settle();
    rib.watch(true);
    rib.set_import_policy(a, Policy::reject_all());
    rib.settle();
    assert_eq!(rib.take_changes(), watched(&[(a, "10.0.0.0/8")], &["10.0.0.0/8"]));
    assert!(!rib.path(a, nlri("10.0.0.0/8")).unwrap().accepted);
    // Whoever watches no more is owed nothing.
    rib.remove_peer(a);
    rib.watch(false);
    assert!(rib.take_changes().is_empty());
}

#[test]
fn nobody_looks_at_what_is_best_while_that_is_undecided() {
    let mut rib = rib();
    rib.watch(true);
    let a = rib.add_peer(peer("192.0.2.1", 65001));
    announce(&mut rib, a, &path(&[65001]), "192.0.2.1", &["10.0.0.0/8"]);
    rib.settle();
    rib.withdraw(a, &[nlri("10.0.0.0/8")]);
    let both = [(a, "10.0.0.0/8"); 2];
    assert_eq!(rib.take_changes(), watched(&both, &[]));
    // It is back before anybody was told that it had gone.
    announce(&mut rib, a, &path(&[65001]), "192.0.2.1", &["10.0.0.0/8"]);
    rib.settle();
    assert_eq!(rib.take_changes(), watched(&both[..1], &["10.0.0.0/8"]));
    assert!(rib.best(prefix("10.0.0.0/8")).is_some());
}
