//! A question with parameters, as the path of a request.

use anyhow::{Result, bail};
use serde::Serialize;
use serde_json::Value;

/// `path?name=value&…` with the fields of `query` that are there.
pub(super) fn path(path: &str, query: &impl Serialize) -> Result<String> {
    let Value::Object(fields) = serde_json::to_value(query)? else {
        bail!("{path}: a question is made of fields");
    };
    let mut text = form_urlencoded::Serializer::new(String::new());
    for (name, value) in &fields {
        match value {
            Value::String(value) => text.append_pair(name, value),
            other => text.append_pair(name, &other.to_string()),
        };
    }
    let text = text.finish();
    Ok(if text.is_empty() { path.to_owned() } else { format!("{path}?{text}") })
}

#[cfg(test)]
mod tests {
    use viaduct_api::admin::{EventQuery, PathQuery};

    use super::*;

    #[test]
    fn fields_become_parameters() {
        let query = PathQuery {
            prefix: Some("2001:db8::/32".to_owned()),
            best: true,
            limit: Some(5),
            ..PathQuery::default()
        };
        let text = path("/v1/bgp/routes", &query).unwrap();
        let (path_only, parameters) = text.split_once('?').unwrap();
        let mut parameters: Vec<_> = parameters.split('&').collect();
        parameters.sort_unstable();
        assert_eq!(path_only, "/v1/bgp/routes");
        assert_eq!(parameters, ["best=true", "limit=5", "prefix=2001%3Adb8%3A%3A%2F32"]);
        assert_eq!(path("/v1/bgp/events", &EventQuery::default()).unwrap(), "/v1/bgp/events");
    }
}
