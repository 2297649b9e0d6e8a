use bgp_speaker::policy::{AsPathPattern, Change, Judge, MedChange, NextHopChange};
use bgp_wire::{AsPath, AttributeSet, Community, LargeCommunity, PathAttributes};

use super::*;

/// A file with one peer `border` of AS 64999, and its policies.
fn read(import: &str, export: &str) -> Result<Config, ConfigErrors> {
    let indented = |text: &str| {
        let lines = text.trim().lines().map(|line| format!("      {}\n", line.trim_end()));
        lines.collect::<String>()
    };
    let text = format!(
        "apiVersion: viaduct.dev/v1alpha1\nkind: BGPConfiguration\nmetadata: {{name: default}}\n\
         spec: {{asn: 64512}}\n---\n\
         apiVersion: viaduct.dev/v1alpha1\nkind: BGPPeer\nmetadata: {{name: border}}\nspec:\n  \
         address: 192.0.2.254\n  asn: 64999\n  \
         import:\n    rules:\n{}  export:\n    rules:\n{}",
        indented(import),
        indented(export)
    );
    let documents::Documents { configuration, peers, replays: _ } =
        documents::parse(&text).unwrap();
    let addresses = LocalAddresses { v4: Some(Ipv4Addr::new(192, 0, 2, 1)), v6: None };
    let id = "192.0.2.1".parse().unwrap();
    standalone(&configuration, id, addresses, &peers, &Passwords::new())
}

fn only(config: &Config) -> &bgp_speaker::PeerConfig {
    &config.peers[&IpAddr::from([192, 0, 2, 254])]
}

#[test]
fn everything_that_can_be_said_is_understood() {
    let config = read(
        r#"
- asPaths: ["^64999_", "_65000$"]
  communities: ["64999:*", blackhole]
  action: Reject
- peers: [border, 192.0.2.7, 198.51.100.0/24]
  nextHops: [192.0.2.254, 203.0.113.0/24]
  origins: [Igp, Egp]
  set:
    localPref: 200
    med: {add: -5}
    communities: {remove: ["64512:*"], add: ["64512:1", no-export]}
    nextHop: 192.0.2.9
  action: Continue
- extendedCommunities: ["rt:64999:*", "soo:192.0.2.1:7"]
  largeCommunities: ["64999:1:*"]
  action: Accept"#,
        r#"
- set:
    med: {set: 7}
    prepend: {count: 2}
    largeCommunities: {replace: ["64512:1:2"]}
    extendedCommunities: {replace: []}
    nextHop: unchanged
  action: Accept"#,
    )
    .unwrap();
    let import = only(&config).import.rules();
    let patterns: Vec<_> = import[0].matches.as_paths.iter().map(AsPathPattern::text).collect();
    assert_eq!(patterns, ["^64999_", "_65000$"]);
    assert!(import[0].matches.communities.contains(Community::BLACKHOLE));
    let peers = &import[1].matches.peers;
    let peer = |text: &str| peers.contains(Prefix::host(text.parse().unwrap()));
    assert!(peer("192.0.2.254") && peer("192.0.2.7") && peer("198.51.100.9"));
    assert!(!peer("192.0.2.8"));
    let Change { local_pref, med, ref communities, next_hop, .. } = *import[1].change;
    assert_eq!((local_pref, med), (Some(200), Some(MedChange::Add(-5))));
    assert_eq!(communities.add, [Community::new(64512, 1), Community::NO_EXPORT]);
    assert!(communities.remove.contains(Community::new(64512, 9)));
    assert_eq!(next_hop, Some(NextHopChange::Address([192, 0, 2, 9].into())));

    let attributes = PathAttributes {
        extended_communities: vec!["rt:1:1".parse().unwrap()],
        ..PathAttributes::default()
    };
    let set = AttributeSet::from(attributes);
    let route = Route::new("10.0.0.0/8".parse().unwrap(), Source::Local);
    let applied = Judge::new(&only(&config).export, &set).apply(&route).unwrap();
    let expected = PathAttributes {
        as_path: AsPath::sequence([64512, 64512].map(viaduct_net::Asn::new)),
        med: Some(7),
        large_communities: vec![LargeCommunity::new(64512, 1, 2)],
        ..PathAttributes::default()
    };
    assert_eq!(applied.attributes, expected);
    assert_eq!(applied.next_hop, Some(NextHopChange::Unchanged));
}

#[test]
fn every_error_of_a_policy_names_its_field() {
    let errors = read(
        r#"
- asPaths: [".*", "65000)", "abc", "[_]"]
  communities: ["64999:*", "70000:1", "*:1"]
  largeCommunities: ["1:2"]
  extendedCommunities: ["xx:1:1"]
  peers: [nobody, border]
  neighborAsns: [1, 0]
  action: Reject
- set: {med: {}, prepend: {count: 33}, nextHop: self}
  action: Continue
- set: {med: {set: 1, remove: true}, nextHop: 127.0.0.1}
  action: Continue
- set: {localPref: 1}
  action: Reject"#,
        r#"
- set:
    prepend: {asn: 0, count: 1}
    nextHop: here
    communities: {add: ["64512:*"], remove: ["64512:*:*"], replace: [no-such]}
  action: Accept"#,
    );
    let errors = errors.unwrap_err().0;
    let fields: Vec<_> = errors
        .iter()
        .map(|error| error.field.strip_prefix("BGPPeer/border: spec.").unwrap())
        .collect();
    let mut expected = vec![
        "import.rules[0].peers[0]",
        "import.rules[0].neighborAsns[1]",
        "import.rules[0].asPaths[1]",
        "import.rules[0].asPaths[2]",
        "import.rules[0].asPaths[3]",
        "import.rules[0].communities[1]",
        "import.rules[0].communities[2]",
        "import.rules[0].largeCommunities[0]",
        "import.rules[0].extendedCommunities[0]",
        "import.rules[1].set.med",
        "import.rules[1].set.prepend.count",
        "import.rules[1].set.nextHop",
        "import.rules[2].set.med",
        "import.rules[2].set.nextHop",
        "import.rules[3].set",
        "export.rules[0].set.communities.remove[0]",
        "export.rules[0].set.communities.replace[0]",
        "export.rules[0].set.communities.add[0]",
        "export.rules[0].set.prepend.asn",
        "export.rules[0].set.nextHop",
    ];
    for field in &fields {
        assert!(expected.contains(field), "{field} is no mistake");
        expected.retain(|one| one != field);
    }
    assert!(expected.is_empty(), "{expected:?} were not found");
    let text = ConfigErrors(errors).to_string();
    assert!(text.contains("`xx:1:1` is no extended community: expected"), "{text}");
    assert!(text.contains("`nobody` is neither"), "{text}");
}

#[test]
fn lists_have_bounds() {
    let rule = |rule: &str| format!("- {rule}\n  action: Accept");
    let many = |count, text: &str| vec![text; count].join(", ");
    for (list, field) in [
        (format!("asPaths: [{}]", many(101, "\".*\"")), "asPaths"),
        (format!("communities: [{}]", many(1001, "\"1:1\"")), "communities"),
        (format!("set: {{communities: {{add: [{}]}}}}", many(101, "\"1:1\"")), "communities.add"),
    ] {
        let error = read(&rule(&list), &rule("sources: []")).unwrap_err();
        assert_eq!(error.0.len(), 1);
        assert!(error.0[0].field.ends_with(field), "{error}");
    }
}
