use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use super::*;

fn reference(name: &str, key: &str) -> SecretKeyRef {
    SecretKeyRef { name: name.to_owned(), key: key.to_owned() }
}

fn secret(data: &[(&str, &str)]) -> Secret {
    let data = data.iter();
    let data = data.map(|(key, value)| ((*key).to_owned(), ByteString(value.as_bytes().to_vec())));
    Secret { data: Some(data.collect()), ..Secret::default() }
}

fn wanting(names: &[(&str, &[&str])]) -> Wanted {
    let keys = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect();
    names.iter().map(|(name, wanted)| ((*name).to_owned(), keys(wanted))).collect()
}

fn refused() -> Unread {
    let status = kube::core::Status::failure("secrets \"a\" is forbidden", "Forbidden");
    Unread::from(&watcher::Error::InitialListFailed(kube::Error::Api(
        kube::core::Status { code: 403, ..status }.boxed(),
    )))
}

#[test]
fn what_the_peers_of_the_node_name_is_wanted_and_no_more() {
    let mut view = View::default();
    for (name, rack) in [("node-1", "a"), ("node-2", "b")] {
        let node = json!({"metadata": {"name": name, "labels": {"rack": rack}}});
        view.nodes.insert(name.to_owned(), Arc::new(serde_json::from_value(node).unwrap()));
    }
    for (name, spec) in [
        ("all", json!({"passwordSecretRef": {"name": "transit"}})),
        (
            "a",
            json!({"nodeSelector": {"rack": "a"}, "tcpAo": [
                {"sendId": 1, "keySecretRef": {"name": "keys", "key": "2026"}},
                {"sendId": 2, "keySecretRef": {"name": "keys", "key": "2027"}},
                {"sendId": 3, "keyFile": "/key"},
            ]}),
        ),
        ("b", json!({"nodeSelector": {"rack": "b"}, "passwordSecretRef": {"name": "others"}})),
        ("none", json!({})),
    ] {
        let mut peer = json!({
            "apiVersion": "viaduct.dev/v1alpha1", "kind": "BGPPeer",
            "metadata": {"name": name}, "spec": {"address": "192.0.2.1", "asn": 64999},
        });
        peer["spec"].as_object_mut().unwrap().append(&mut spec.as_object().unwrap().clone());
        view.peers.insert(name.to_owned(), Arc::new(serde_json::from_value(peer).unwrap()));
    }
    let own = wanting(&[("keys", &["2026", "2027"]), ("transit", &["password"])]);
    assert_eq!(wanted(&view, "node-1"), own);
    assert_eq!(wanted(&view, "node-3"), wanting(&[("transit", &["password"])]), "no labels");
}

#[test]
fn what_cannot_be_had_names_the_secret_the_key_and_the_remedy() {
    let wanted =
        wanting(&[("a", &["password"]), ("b", &["password", "next"]), ("c", &["password"])]);
    let mut secrets = Secrets::default();
    assert!(!secrets.answer(&wanted));
    secrets.read("a", &wanted["a"], None);
    secrets.read("b", &wanted["b"], Some(secret(&[("password", "hunter2"), ("other", "x")])));
    assert!(!secrets.answer(&wanted));
    secrets.unread("c", &wanted["c"], &refused());
    assert!(secrets.answer(&wanted));
    let why = |name, key| secrets.value(&reference(name, key)).unwrap_err();
    assert_eq!(
        why("a", "password"),
        "Secret kube-system/a is missing: kubectl -n kube-system create secret generic a \
         --from-file=password=FILE"
    );
    assert_eq!(
        why("b", "next"),
        "Secret kube-system/b has no key `next`: add it, or name one that is there"
    );
    assert_eq!(
        why("c", "password"),
        "Secret kube-system/c, key `password`, cannot be read: secrets \"a\" is forbidden: a Role in \
         kube-system has to let the node get, list and watch it; on Viaduct's own API server the \
         nodeSelector has to be of labels under node-restriction.kubernetes.io/"
    );
    assert_eq!(secrets.value(&reference("b", "password")), Ok(b"hunter2".to_vec()));
    // What nobody has named is not kept.
    assert!(secrets.value(&reference("b", "other")).is_err());
    assert_eq!(secrets.problems().next(), None);
    let mut changed = secrets.clone();
    changed.read("b", &wanted["b"], Some(secret(&[("password", "hunter2"), ("other", "y")])));
    assert!(changed == secrets, "another value is nobody's");
}

#[test]
fn what_is_known_outlives_the_server_and_a_lost_right_and_not_the_secret() {
    let wanted = wanting(&[("a", &["password"])]);
    let keys = &wanted["a"];
    let mut secrets = Secrets::default();
    secrets.unread("a", keys, &Unread::failed("connection refused"));
    assert!(secrets.value(&reference("a", "password")).unwrap_err().contains("connection refused"));
    secrets.read("a", keys, Some(secret(&[("password", "one")])));
    secrets.unread("a", keys, &Unread::failed("connection refused"));
    assert_eq!(secrets.problems().next(), None);
    secrets.unread("a", keys, &refused());
    assert_eq!(secrets.value(&reference("a", "password")), Ok(b"one".to_vec()));
    let problems: Vec<_> = secrets.problems().collect();
    assert!(problems.len() == 1 && problems[0].contains("kube-system/a cannot be read any more"));
    secrets.read("a", keys, Some(secret(&[("password", "two")])));
    assert_eq!(secrets.value(&reference("a", "password")), Ok(b"two".to_vec()));
    assert_eq!(secrets.problems().next(), None);
    // A key more is asked for; what is there stays.
    let more = wanting(&[("a", &["password", "next"])]);
    assert!(!secrets.answer(&more));
    secrets.unread("a", &more["a"], &Unread::failed("connection refused"));
    assert_eq!(secrets.value(&reference("a", "password")), Ok(b"two".to_vec()));
    secrets.read("a", keys, None);
    assert!(secrets.value(&reference("a", "password")).unwrap_err().contains("is missing"));
    secrets.prune(&Wanted::new());
    assert!(secrets == Secrets::default());
}

#[test]
fn values_are_in_a_file_of_roots_own_as_long_as_they_are_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("passwords.json");
    assert!(load(&file).is_empty());
    let wanted = wanting(&[("a", &["password", "next"]), ("b", &["password"])]);
    let mut secrets = Secrets::default();
    secrets.read("a", &wanted["a"], Some(secret(&[("password", "one"), ("other", "x")])));
    secrets.read("b", &wanted["b"], None);
    save(&secrets.saving(), &file).unwrap();
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_to_string(&file).unwrap(), r#"{"a":{"password":"b25l"}}"#);
    let again = Secrets::from(load(&file));
    assert_eq!(again.value(&reference("a", "password")), Ok(b"one".to_vec()));
    assert!(!again.answer(&wanted), "what was missing may be there now");
    fs::write(&file, "{").unwrap();
    assert!(load(&file).is_empty());
    secrets.prune(&Wanted::new());
    save(&secrets.saving(), &file).unwrap();
    assert!(!file.exists());
    save(&secrets.saving(), &file).unwrap();
}
