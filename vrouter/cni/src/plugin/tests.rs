use std::collections::BTreeMap;

use super::*;

fn never(_: &NetConf, request: &Request) -> Result<Response, CniError> {
    panic!("asked the daemon: {request:?}")
}

fn environment<'a>(changes: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<String> + 'a {
    let usual = [
        ("CNI_COMMAND", "ADD"),
        ("CNI_CONTAINERID", "c1"),
        ("CNI_IFNAME", "eth0"),
        ("CNI_NETNS", "/run/netns/c1"),
    ];
    let all: BTreeMap<&str, &str> = usual.into_iter().chain(changes.iter().copied()).collect();
    move |name| all.get(name).filter(|value| !value.is_empty()).map(|value| (*value).to_owned())
}

const CONF: &str = r#"{"cniVersion": "1.1.0", "name": "viaduct"}"#;

fn refusal(changes: &[(&str, &str)], conf: &str) -> u32 {
    run(environment(changes), conf.as_bytes(), never).unwrap_err().1.code
}

#[test]
fn version_needs_no_daemon() {
    let asked = br#"{"cniVersion": "1.0.0"}"#;
    let answer = run(environment(&[("CNI_COMMAND", "VERSION")]), asked, never).unwrap().unwrap();
    assert_eq!(answer["cniVersion"], "1.0.0");
    assert_eq!(answer["supportedVersions"].as_array().unwrap().len(), 5);
}

#[test]
fn what_the_runtime_got_wrong_has_its_code() {
    use code::*;
    for (variable, value) in [
        ("CNI_COMMAND", ""),
        ("CNI_COMMAND", "ERASE"),
        ("CNI_CONTAINERID", ""),
        ("CNI_CONTAINERID", "../../etc"),
        ("CNI_IFNAME", ".."),
        ("CNI_IFNAME", "a/b"),
        ("CNI_IFNAME", "much-too-long-a-name"),
        ("CNI_NETNS", ""),
        ("CNI_NETNS", "relative"),
    ] {
        assert_eq!(refusal(&[(variable, value)], CONF), INVALID_ENVIRONMENT, "{variable}={value}");
    }
    assert_eq!(refusal(&[], "no json"), DECODING_FAILURE);
    let old = r#"{"cniVersion": "0.3.1", "name": "viaduct"}"#;
    assert_eq!(refusal(&[("CNI_COMMAND", "CHECK")], old), INCOMPATIBLE_VERSION);
    assert_eq!(refusal(&[("CNI_COMMAND", "GC")], old), INCOMPATIBLE_VERSION);
    assert_eq!(refusal(&[("CNI_COMMAND", "GC")], CONF), INVALID_NETWORK_CONFIG);
    let chained = r#"{"cniVersion": "1.1.0", "name": "viaduct", "prevResult": {}}"#;
    assert_eq!(refusal(&[], chained), INVALID_NETWORK_CONFIG);
    assert_eq!(refusal(&[("CNI_COMMAND", "CHECK")], CONF), INVALID_NETWORK_CONFIG);
}

#[test]
fn del_asks_for_no_namespace() {
    let gone = environment(&[("CNI_COMMAND", "DEL"), ("CNI_NETNS", "")]);
    let done = |_: &NetConf, request: &Request| {
        assert!(matches!(request, Request::Del { .. }));
        Ok(Response::Done)
    };
    assert_eq!(run(gone, CONF.as_bytes(), done).unwrap(), None);
}

#[test]
fn errors_of_the_daemon_are_passed_on() {
    let full = |_: &NetConf, _: &Request| {
        Ok(Response::Error(CniError::new(code::TRY_AGAIN_LATER, "no address for the pod")))
    };
    let (version, error) = run(environment(&[]), CONF.as_bytes(), full).unwrap_err();
    assert_eq!(error.to_json(&version)["code"], 11);
    assert_eq!(error.to_json(&version)["cniVersion"], "1.1.0");
}
