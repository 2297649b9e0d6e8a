//! What stands in the URL.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::json;

use crate::{
    bodies::counts,
    target::{CONFIG_MAPS, Target},
};

pub(crate) async fn selectors_and_tokens(target: &Target) -> String {
    let token = |rv: serde_json::Value, after: &str| {
        URL_SAFE_NO_PAD.encode(json!({"rv": rv, "after": after}).to_string())
    };
    let prefix = "/core/configmaps/default/";
    let mut codes = Vec::new();
    for (query, allowed) in [
        (format!("labelSelector={}", "a".repeat(1 << 20)), &[0, 400, 414, 431][..]),
        (format!("labelSelector={}", "a,".repeat(8000)), &[200, 400, 414, 431]),
        (format!("labelSelector=a+in+({})", "b,".repeat(8000)), &[200, 400, 414, 431]),
        (format!("labelSelector={}", "(".repeat(16_000)), &[400]),
        (format!("labelSelector={}", "!".repeat(16_000)), &[400]),
        (format!("fieldSelector={}", "metadata.name=a,".repeat(1000)), &[200, 400]),
        (format!("fieldSelector={}", "%5C,".repeat(4000)), &[400]),
        ("fieldSelector=spec.x=1".to_owned(), &[400]),
        ("fieldSelector=metadata.name".to_owned(), &[400]),
        ("labelSelector=%00".to_owned(), &[400]),
        ("labelSelector=%ff%fe".to_owned(), &[400]),
        ("limit=-1".to_owned(), &[400]),
        ("limit=18446744073709551615".to_owned(), &[200]),
        ("limit=18446744073709551616".to_owned(), &[400]),
        ("limit=18446744073709551615&labelSelector=a".to_owned(), &[200]),
        ("limit=1&continue=x".to_owned(), &[400]),
        (format!("limit=1&continue={}", "A".repeat(40_000)), &[400]),
        (format!("continue={}", token(json!(u64::MAX), prefix)), &[400, 410, 504]),
        (format!("continue={}", token(json!(0), prefix)), &[200, 400, 410]),
        (format!("continue={}", token(json!(-1), prefix)), &[400]),
        (format!("continue={}", token(json!(1), "/core/secrets/default/")), &[400]),
        (format!("continue={}", token(json!(1), &format!("{prefix}\u{10ffff}"))), &[200, 410]),
        (format!("resourceVersion=1&continue={}", token(json!(1), prefix)), &[400]),
        ("resourceVersion=-1".to_owned(), &[400]),
        ("resourceVersion=1e9".to_owned(), &[400]),
        ("resourceVersion=18446744073709551615".to_owned(), &[504]),
        ("resourceVersion=18446744073709551616".to_owned(), &[400]),
        ("resourceVersion=1&resourceVersionMatch=Nonsense".to_owned(), &[400]),
        ("resourceVersionMatch=Exact".to_owned(), &[400]),
        ("watch=1&resourceVersion=x".to_owned(), &[400]),
        ("watch=1&timeoutSeconds=-1".to_owned(), &[400]),
        ("watch=1&timeoutSeconds=1&resourceVersion=18446744073709551615".to_owned(), &[200]),
        ("watch=1&sendInitialEvents=true".to_owned(), &[400]),
        ("dryRun=maybe".to_owned(), &[400]),
        (format!("{}limit=1", "a=b&".repeat(10_000)), &[200, 414, 431]),
    ] {
        let reply = target.get("hostile", &format!("{CONFIG_MAPS}?{query}")).await;
        let shown = &query[..query.len().min(80)];
        assert!(allowed.contains(&reply.code), "{shown}: {}", reply.code);
        if matches!(reply.code, 400 | 410 | 504) {
            reply.is_refused(reply.code);
        }
        codes.push(reply.code);
    }
    counts(codes)
}

pub(crate) async fn paths_in_disguise(target: &Target) -> String {
    let mut codes = Vec::new();
    for path in [
        "/api/v1/namespaces/default/configmaps/..%2f..%2fsecrets",
        "/api/v1/namespaces/default%2fconfigmaps/a",
        "/api/v1/namespaces/%2e%2e/configmaps",
        "/api/v1/namespaces/default/configmaps/%00",
        "/api/v1/namespaces/default/configmaps/a%00b",
        "/api/v1/namespaces/default/configmaps/%ff",
        "/api/v1/../../etc/passwd",
        "/api/v1//configmaps",
        "//api/v1/configmaps",
        "/api/v1/namespaces//configmaps/a",
        "/apis/%2e/v1/x",
        "/openapi/v3/..%2f..%2fetc",
        "/openapi/v3/apis/",
        "/api/v1/namespaces/default/pods/x/log/y/z",
        "/%",
        "/%zz",
        "/api/v1/configmaps?%",
        "/api/v1/namespaces/default/configmaps/a/status",
        "*",
    ] {
        for method in ["GET", "DELETE", "PUT", "TRACE", "NONSENSE"] {
            let reply = target.ask("hostile", method, path, "application/json", "{}").await;
            // The objects of a namespace that no name can have, and all config maps, may be listed
            // and deleted: there are none to be lost.
            let selects = path.contains("%2e%2e") || path.contains("configmaps?");
            let allowed = matches!(reply.code, 0 | 400 | 404 | 405)
                || reply.code == 200 && (method == "GET" || method == "DELETE" && selects);
            assert!(allowed, "{method} {path}: {}", reply.code);
            codes.push(reply.code);
        }
    }
    let long = format!("/api/v1/{}", "a/".repeat(30_000));
    codes.push(target.get("hostile", &long).await.code);
    // Nothing was made or lost by any of them.
    assert_eq!(target.get("hostile", "/api/v1/namespaces/default").await.code, 200);
    counts(codes)
}
