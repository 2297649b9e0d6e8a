use serde_json::{Value, json};

use super::*;
use crate::kinds;

fn selects(text: &str, labels: Value) -> bool {
    LabelSelector::parse(text).unwrap().matches_labels(&labels)
}

#[test]
fn label_selectors_select() {
    let labels = json!({"app": "web", "tier": "3", "empty": ""});
    for (text, expected) in [
        ("", true),
        ("app=web", true),
        ("app==web", true),
        ("app = web , tier=3", true),
        ("app!=web", false),
        ("other!=web", true),
        ("app in (web, api)", true),
        ("app in (api)", false),
        ("app notin (api,db)", true),
        ("other notin (api)", true),
        ("app", true),
        ("!app", false),
        ("!other", true),
        ("other", false),
        ("tier>2", true),
        ("tier<3", false),
        ("app>2", false),
        ("empty=", true),
        ("app=,tier=3", false),
    ] {
        assert_eq!(selects(text, labels.clone()), expected, "{text}");
    }
    assert!(!selects("app=web", Value::Null));
}

#[test]
fn what_is_no_selector_is_refused() {
    for text in [
        ",", "a=b=c", "a in", "a in ()", "a in (b", "=b", "a b", "a>x", "-a=b", "a=b c", "a,",
        "a=-",
    ] {
        let error = LabelSelector::parse(text).unwrap_err();
        assert_eq!(error.code, 400, "{text}");
        assert!(error.message.starts_with("unable to parse requirement:"), "{text}");
    }
}

#[test]
fn field_selectors_select() {
    let pods = kinds::find("", "v1", "pods").unwrap();
    let pod = json!({"metadata": {"name": "a"}, "spec": {"nodeName": "n1"},
        "status": {"phase": "Running"}});
    let matches = |text: &str| FieldSelector::parse(pods, text).unwrap().matches(&pod);
    assert!(matches("spec.nodeName=n1,status.phase!=Failed"));
    assert!(!matches("metadata.name==b"));
    assert!(matches("metadata.namespace="));
    assert!(matches("spec.hostNetwork=false"));
    let one = FieldSelector::parse(pods, "metadata.name=a").unwrap();
    assert_eq!(one.exact_name(), Some("a"));
    assert_eq!(FieldSelector::parse(pods, "metadata.name!=a").unwrap().exact_name(), None);
}

#[test]
fn a_field_that_cannot_be_selected_by_is_named() {
    let pods = kinds::find("", "v1", "pods").unwrap();
    let error = FieldSelector::parse(pods, "spec.foo=1").unwrap_err();
    assert!(error.message.ends_with("field label not supported: spec.foo"), "{error}");
    assert_eq!(FieldSelector::parse(pods, "nonsense").unwrap_err().code, 400);
}

#[test]
fn an_escaped_comma_belongs_to_the_value() {
    let events = kinds::find("", "v1", "events").unwrap();
    let selector = FieldSelector::parse(events, r"reason=a\,b").unwrap();
    assert!(selector.matches(&json!({"reason": "a,b"})));
}
