//! The parameters of a request.

use crate::status_error::StatusError;

/// The pairs of a query string, decoded. The first of a name counts, as in Kubernetes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub(crate) fn parse(query: Option<&str>) -> Self {
        let pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        Self(pairs.map(|(name, value)| (name.into_owned(), value.into_owned())).collect())
    }

    /// The parameter's text; empty where it is not given.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.0.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value)
    }

    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// A flag. Kubernetes takes all but `false` and `0` for true, also the bare name.
    pub(crate) fn flag(&self, name: &str) -> bool {
        let mut values = self.all(name);
        values.next().is_some_and(|text| !matches!(text, "0" | "false" | "False" | "FALSE"))
    }

    /// A number that is not negative.
    pub(crate) fn number(&self, name: &str) -> Result<Option<u64>, StatusError> {
        match self.text(name) {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|error| {
                StatusError::bad_request(format!("invalid value {text:?} for {name}: {error}"))
            }),
        }
    }

    /// Whether the request only wants to know what would be: `dryRun=All`.
    pub(crate) fn dry_run(&self) -> Result<bool, StatusError> {
        match self.all("dryRun").find(|value| *value != "All") {
            None => Ok(self.all("dryRun").next().is_some()),
            Some(other) => Err(StatusError::bad_request(format!(
                "dryRun: Unsupported value: \"{other}\": supported values: \"All\""
            ))),
        }
    }
}

/// What becomes of fields that a kind does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FieldValidation {
    Ignore,
    Warn,
    Strict,
}

impl FieldValidation {
    pub(crate) fn of(query: &Query) -> Result<Self, StatusError> {
        match query.text("fieldValidation") {
            "Ignore" => Ok(Self::Ignore),
            "" | "Warn" => Ok(Self::Warn),
            "Strict" => Ok(Self::Strict),
            other => Err(StatusError::bad_request(format!(
                "fieldValidation: Unsupported value: \"{other}\": supported values: \"Ignore\", \
                 \"Strict\", \"Warn\""
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded() {
        let query = Query::parse(Some("labelSelector=a%3Db%2Cc+in+(d)&watch&limit=5&follow=0"));
        assert_eq!(query.text("labelSelector"), "a=b,c in (d)");
        assert!(query.flag("watch") && !query.flag("follow") && !query.flag("other"));
        assert_eq!(query.number("limit"), Ok(Some(5)));
        assert!(Query::parse(Some("limit=x")).number("limit").is_err());
    }

    #[test]
    fn dry_run_is_all_or_nothing() {
        for (query, expected) in [("", Some(false)), ("dryRun=All", Some(true)), ("dryRun=x", None)]
        {
            assert_eq!(Query::parse(Some(query)).dry_run().ok(), expected);
        }
    }
}
