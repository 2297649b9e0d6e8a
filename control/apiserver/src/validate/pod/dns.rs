//! How a pod resolves names.

use std::net::IpAddr;

use serde_json::Value;

use super::{list, text};
use crate::validate::{
    field_error::{Errors, Path},
    names,
};

const POLICIES: [&str; 4] = ["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"];
/// What resolvers read.
const MAX_SERVERS: usize = 3;
const MAX_SEARCHES: usize = 32;
const MAX_SEARCH_BYTES: usize = 2048;

pub(super) fn dns(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let policy = text(spec, "dnsPolicy");
    if !policy.is_empty() && !POLICIES.contains(&policy) {
        errors.not_supported(&path.child("dnsPolicy"), policy, &POLICIES);
    }
    let at = path.child("dnsConfig");
    match &spec["dnsConfig"] {
        Value::Null if policy == "None" => {
            errors.required(&at, "must provide `dnsConfig` when `dnsPolicy` is None");
        }
        Value::Null => {}
        config => {
            if policy == "None" && list(&config["nameservers"]).is_empty() {
                let detail = "must provide at least one DNS nameserver when `dnsPolicy` is None";
                errors.required(&at.child("nameservers"), detail);
            }
            servers(&config["nameservers"], &at.child("nameservers"), errors);
            searches(&config["searches"], &at.child("searches"), errors);
            let at = at.child("options");
            for (index, option) in list(&config["options"]).iter().enumerate() {
                if text(option, "name").is_empty() {
                    errors.required(&at.index(index), "must not be empty");
                }
            }
        }
    }
}

fn servers(servers: &Value, path: &Path<'_>, errors: &mut Errors) {
    if list(servers).len() > MAX_SERVERS {
        let detail = format!("must not have more than {MAX_SERVERS} nameservers");
        errors.invalid(path, servers.clone(), &detail);
    }
    for (index, server) in list(servers).iter().enumerate() {
        let server = server.as_str().unwrap_or_default();
        if server.parse::<IpAddr>().is_err() {
            let detail = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
            errors.invalid(&path.index(index), server, detail);
        }
    }
}

fn searches(searches: &Value, path: &Path<'_>, errors: &mut Errors) {
    let all: Vec<&str> =
        list(searches).iter().map(|one| one.as_str().unwrap_or_default()).collect();
    if all.len() > MAX_SEARCHES {
        let detail = format!("must not have more than {MAX_SEARCHES} search paths");
        errors.invalid(path, searches.clone(), &detail);
    }
    if all.join(" ").len() > MAX_SEARCH_BYTES {
        let detail = format!(
            "must not have more than {MAX_SEARCH_BYTES} characters (including spaces) in the \
             search list"
        );
        errors.invalid(path, searches.clone(), &detail);
    }
    for (index, search) in all.into_iter().enumerate() {
        // The root alone is a search path, too.
        if search == "." {
            continue;
        }
        for why in names::rfc1123_subdomain(search.strip_suffix('.').unwrap_or(search)) {
            errors.invalid(&path.index(index), search, &why);
        }
    }
}
