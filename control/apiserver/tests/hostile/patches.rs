//! Patches that are small and mean much.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    bodies::counts,
    target::{CONFIG_MAPS, JSON, PODS, Target},
};

const JSON_PATCH: &str = "application/json-patch+json";
const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";
const APPLY: &str = "application/apply-patch+yaml";
/// For one patch, on a machine that does other things too.
const LONG: Duration = Duration::from_secs(20);

struct Tried {
    codes: Vec<u16>,
    slowest: (Duration, String),
}

impl Tried {
    fn new() -> Self {
        Self { codes: Vec::new(), slowest: (Duration::ZERO, String::new()) }
    }

    async fn patch(
        &mut self,
        target: &Target,
        what: &str,
        path: &str,
        kind: &str,
        patch: String,
    ) -> u16 {
        let begun = Instant::now();
        let reply = target.ask("hostile", "PATCH", path, kind, patch).await;
        let took = begun.elapsed();
        assert!(matches!(reply.code, 200 | 201 | 400 | 413 | 422), "{what}: {}", reply.code);
        if reply.code >= 400 {
            reply.is_refused(reply.code);
        }
        assert!(took < LONG, "{what} took {took:?}");
        if took > self.slowest.0 {
            self.slowest = (took, what.to_owned());
        }
        self.codes.push(reply.code);
        reply.code
    }

    fn said(self) -> String {
        let (took, what) = self.slowest;
        format!("{}; the slowest was {what} in {took:.1?}", counts(self.codes))
    }
}

pub(crate) async fn that_multiply(target: &Target) -> String {
    let object = json!({"metadata": {"name": "a"}, "data": {"a": "x".repeat(1000)}}).to_string();
    assert_eq!(target.ask("hostile", "POST", CONFIG_MAPS, JSON, object).await.code, 201);
    let path = format!("{CONFIG_MAPS}/a");
    let mut tried = Tried::new();
    let doubling: Vec<Value> = (0..40)
        .map(|n| json!({"op": "copy", "from": "/data", "path": format!("/data/n{n}")}))
        .collect();
    let copying: Vec<Value> = (0..9999)
        .map(|n| json!({"op": "copy", "from": "/data/a", "path": format!("/data/n{n}")}))
        .collect();
    let adding: Vec<Value> =
        (0..40_000).map(|_| json!({"op": "add", "path": "/data/b", "value": ""})).collect();
    let testing: Vec<Value> =
        (0..9999).map(|_| json!({"op": "test", "path": "", "value": {"a": 1}})).collect();
    let moving: Vec<Value> = (0..9999)
        .map(|n| json!({"op": "move", "from": (["/data/a", "/data/b"][n % 2]), "path": (["/data/b", "/data/a"][n % 2])}))
        .collect();
    let front: Vec<Value> = std::iter::once(json!({"op": "add", "path": "/metadata/finalizers", "value": []}))
        .chain((0..9998).map(|n| json!({"op": "add", "path": "/metadata/finalizers/0", "value": format!("example.com/{n}")})))
        .collect();
    let deep = (0..500).fold(json!("x"), |inner, _| json!({"a": inner}));
    for (what, kind, patch) in [
        ("copies of copies", JSON_PATCH, json!(doubling)),
        ("many copies", JSON_PATCH, json!(copying)),
        ("more operations than allowed", JSON_PATCH, json!(adding)),
        ("tests", JSON_PATCH, json!(testing)),
        ("moves", JSON_PATCH, json!(moving)),
        ("insertions at the front", JSON_PATCH, json!(front)),
        ("no list", JSON_PATCH, json!({"op": "add"})),
        ("a bad pointer", JSON_PATCH, json!([{"op": "remove", "path": "data"}])),
        (
            "an index out of all bounds",
            JSON_PATCH,
            json!([{"op": "add", "path": "/metadata/finalizers/18446744073709551616", "value": 1}]),
        ),
        ("the whole", JSON_PATCH, json!([{"op": "replace", "path": "", "value": []}])),
        (
            "the name",
            JSON_PATCH,
            json!([{"op": "replace", "path": "/metadata/name", "value": "b"}]),
        ),
        ("deep", MERGE, deep),
        ("a list", MERGE, json!([])),
        ("null", MERGE, json!(null)),
        ("all away", MERGE, json!({"metadata": null, "data": null})),
        ("an unknown directive", STRATEGIC, json!({"$patch": "explode"})),
        ("a directive of another type", STRATEGIC, json!({"$patch": {"a": 1}})),
        ("replaced by nothing", STRATEGIC, json!({"$patch": "replace"})),
        ("deleted", STRATEGIC, json!({"$patch": "delete"})),
        (
            "keys retained",
            STRATEGIC,
            json!({"$retainKeys": (0..100_000).map(|n| n.to_string()).collect::<Vec<_>>()}),
        ),
        ("keys of another type", STRATEGIC, json!({"$retainKeys": "a"})),
        ("an order of what is not there", STRATEGIC, json!({"$setElementOrder/data": [1, 2]})),
        ("other versions", APPLY, json!({"apiVersion": "v9", "kind": "ConfigMap"})),
        ("other kinds", APPLY, json!({"apiVersion": "v1", "kind": "Secret"})),
        (
            "managed fields",
            APPLY,
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"managedFields": [{}]}}),
        ),
    ] {
        tried.patch(target, what, &path, kind, patch.to_string()).await;
    }
    tried.said()
}

/// Lists are merged by keys: that is long times long, if one is careless.
pub(crate) async fn of_long_lists(target: &Target) -> String {
    const LONG_LIST: usize = 15_000;
    /// Finalizers and owners of an object that is taken.
    const MOST: usize = 100;
    let finalizers = |from: usize| -> Vec<String> {
        (from..from + LONG_LIST * 2).map(|n| format!("example.com/{n}")).collect()
    };
    let owners = |from: usize| -> Vec<Value> {
        (from..from + LONG_LIST)
            .map(
                |n| json!({"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": format!("u{n}")}),
            )
            .collect()
    };
    let tolerations = |from: usize| -> Vec<Value> {
        (from..from + LONG_LIST)
            .map(|n| json!({"key": format!("k{n}"), "operator": "Exists", "effect": "NoSchedule"}))
            .collect()
    };
    let long = json!({"metadata": {"name": "long", "finalizers": &finalizers(0)[..MOST]}});
    let made = target.ask("hostile", "POST", CONFIG_MAPS, JSON, long.to_string()).await;
    assert_eq!(made.code, 201, "{}", made.json());
    let owned = json!({"metadata": {"name": "owned", "ownerReferences": &owners(0)[..MOST]}});
    let made = target.ask("hostile", "POST", CONFIG_MAPS, JSON, owned.to_string()).await;
    assert_eq!(made.code, 201, "{}", made.json());
    let pod = json!({"metadata": {"name": "p"}, "spec": {
        "containers": [{"name": "c", "image": "i"}], "tolerations": tolerations(0)}});
    let made = target.ask("hostile", "POST", PODS, JSON, pod.to_string()).await;
    assert_eq!(made.code, 201, "{}", made.json());
    let (long, owned) = (format!("{CONFIG_MAPS}/long"), format!("{CONFIG_MAPS}/owned"));
    let pod = format!("{PODS}/p");
    let mut tried = Tried::new();
    for (what, path, kind, patch) in [
        (
            "more finalizers",
            &long,
            STRATEGIC,
            json!({"metadata": {"finalizers": finalizers(LONG_LIST)}}),
        ),
        (
            "finalizers in another order",
            &long,
            STRATEGIC,
            json!({"metadata": {
            "$setElementOrder/finalizers": finalizers(0)}}),
        ),
        (
            "finalizers deleted",
            &long,
            STRATEGIC,
            json!({"metadata": {
            "$deleteFromPrimitiveList/finalizers": finalizers(0)}}),
        ),
        (
            "finalizers applied",
            &long,
            APPLY,
            json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "long", "finalizers": finalizers(LONG_LIST)}}),
        ),
        (
            "more owners",
            &owned,
            STRATEGIC,
            json!({"metadata": {"ownerReferences": owners(LONG_LIST)}}),
        ),
        (
            "owners in another order",
            &owned,
            STRATEGIC,
            json!({"metadata": {
            "$setElementOrder/ownerReferences": owners(0)}}),
        ),
        (
            "owners deleted",
            &owned,
            STRATEGIC,
            json!({"metadata": {"ownerReferences": (0..LONG_LIST)
            .map(|n| json!({"$patch": "delete", "uid": format!("u{n}")})).collect::<Vec<_>>()}}),
        ),
        (
            "owners applied",
            &owned,
            APPLY,
            json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "owned", "ownerReferences": owners(LONG_LIST)}}),
        ),
        (
            "more tolerations",
            &pod,
            STRATEGIC,
            json!({"spec": {"tolerations": tolerations(LONG_LIST)}}),
        ),
        (
            "more containers",
            &pod,
            STRATEGIC,
            json!({"spec": {"containers": (0..LONG_LIST)
            .map(|n| json!({"name": format!("n{n}"), "image": "i"})).collect::<Vec<_>>()}}),
        ),
        (
            "containers applied",
            &pod,
            APPLY,
            json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "p"}, "spec": {"containers": (0..LONG_LIST)
            .map(|n| json!({"name": format!("n{n}"), "image": "i"})).collect::<Vec<_>>()}}),
        ),
    ] {
        tried.patch(target, what, path, kind, patch.to_string()).await;
    }
    tried.said()
}
