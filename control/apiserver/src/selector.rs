//! Label and field selectors, as they stand in the query of a list or watch.

use serde_json::Value;

use crate::kinds::Kind;
use crate::status_error::StatusError;
use crate::validate::names;

/// The longest selector that is read, in bytes; a URL is hardly longer.
const MAX_SELECTOR_BYTES: usize = 16 * 1024;

/// Requirements on the labels of an object; all must hold. The default selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LabelSelector {
    requirements: Vec<Requirement>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    key: String,
    operator: Operator,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Operator {
    In(Vec<String>),
    /// Holds also where the label is missing.
    NotIn(Vec<String>),
    Exists,
    DoesNotExist,
    GreaterThan(i64),
    LessThan(i64),
}

impl LabelSelector {
    /// Reads `a=b,c!=d,e in (f,g),h notin (i),j,!k,l>5`.
    ///
    /// # Errors
    /// A 400 Status where the text is no selector.
    pub(crate) fn parse(text: &str) -> Result<Self, StatusError> {
        if text.len() > MAX_SELECTOR_BYTES {
            return Err(StatusError::bad_request("the label selector is too long"));
        }
        let mut tokens = Tokens { rest: text };
        let mut requirements = Vec::new();
        if tokens.peek() == Token::End {
            return Ok(Self::default());
        }
        loop {
            requirements.push(requirement(&mut tokens).map_err(|why| unparsable(text, &why))?);
            match tokens.next() {
                Token::End => break,
                Token::Sign(",") => {}
                other => {
                    let why = format!("found '{}', expected: ',' or 'end of string'", other.text());
                    return Err(unparsable(text, &why));
                }
            }
        }
        Ok(Self { requirements })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }

    /// Whether an object's labels satisfy every requirement.
    pub(crate) fn matches(&self, object: &Value) -> bool {
        self.matches_labels(&object["metadata"]["labels"])
    }

    /// The same for a map of labels by itself.
    pub(crate) fn matches_labels(&self, labels: &Value) -> bool {
        self.requirements.iter().all(|requirement| requirement.holds(labels))
    }
}

/// Whether a `metav1.LabelSelector` (`matchLabels`, `matchExpressions`) selects the labels. An
/// expression with an operator that does not exist selects nothing.
pub(crate) fn labels_match(selector: &Value, labels: &Value) -> bool {
    let pairs = selector["matchLabels"].as_object().into_iter().flatten();
    let expressions = selector["matchExpressions"].as_array().into_iter().flatten();
    pairs.into_iter().all(|(key, value)| labels.get(key) == Some(value))
        && expressions.into_iter().all(|expression| expression_holds(expression, labels))
}

fn expression_holds(expression: &Value, labels: &Value) -> bool {
    let texts = || {
        let values = expression["values"].as_array().into_iter().flatten();
        values.filter_map(|value| value.as_str().map(str::to_owned)).collect()
    };
    let operator = match expression["operator"].as_str().unwrap_or_default() {
        "In" => Operator::In(texts()),
        "NotIn" => Operator::NotIn(texts()),
        "Exists" => Operator::Exists,
        "DoesNotExist" => Operator::DoesNotExist,
        _ => return false,
    };
    let key = expression["key"].as_str().unwrap_or_default().to_owned();
    Requirement { key, operator }.holds(labels)
}

impl Requirement {
    fn holds(&self, labels: &Value) -> bool {
        let value = labels.get(&self.key).and_then(Value::as_str);
        let number = || value.and_then(|text| text.parse::<i64>().ok());
        match &self.operator {
            Operator::In(values) => value.is_some_and(|v| values.iter().any(|one| one == v)),
            Operator::NotIn(values) => value.is_none_or(|v| values.iter().all(|one| one != v)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::GreaterThan(bound) => number().is_some_and(|n| n > *bound),
            Operator::LessThan(bound) => number().is_some_and(|n| n < *bound),
        }
    }
}

fn unparsable(text: &str, why: &str) -> StatusError {
    StatusError::bad_request(format!(
        "unable to parse requirement: {why} (in the selector \"{text}\")"
    ))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    /// `,` `(` `)` `=` `==` `!=` `!` `<` `>`
    Sign(&'static str),
    Word(&'a str),
    End,
}

impl<'a> Token<'a> {
    fn text(self) -> &'a str {
        match self {
            Self::Sign(sign) => sign,
            Self::Word(word) => word,
            Self::End => "",
        }
    }
}

#[derive(Clone, Copy)]
struct Tokens<'a> {
    rest: &'a str,
}

impl<'a> Tokens<'a> {
    const SIGNS: [&'static str; 9] = ["==", "!=", ",", "(", ")", "=", "!", "<", ">"];

    fn next(&mut self) -> Token<'a> {
        self.rest = self.rest.trim_start();
        for sign in Self::SIGNS {
            if let Some(rest) = self.rest.strip_prefix(sign) {
                self.rest = rest;
                return Token::Sign(sign);
            }
        }
        let end = self
            .rest
            .find(|c: char| c.is_whitespace() || "=!,()<>".contains(c))
            .unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        if word.is_empty() { Token::End } else { Token::Word(word) }
    }

    fn peek(&self) -> Token<'a> {
        let mut ahead = *self;
        ahead.next()
    }
}

fn requirement(tokens: &mut Tokens<'_>) -> Result<Requirement, String> {
    let (key, absent) = match tokens.next() {
        Token::Sign("!") => (key(tokens.next())?, true),
        token => (key(token)?, false),
    };
    if absent {
        return Ok(Requirement { key, operator: Operator::DoesNotExist });
    }
    let operator = match tokens.peek() {
        Token::End | Token::Sign(",") => Operator::Exists,
        Token::Sign("=" | "==") => {
            tokens.next();
            Operator::In(vec![exact_value(tokens)?])
        }
        Token::Sign("!=") => {
            tokens.next();
            Operator::NotIn(vec![exact_value(tokens)?])
        }
        Token::Sign(sign @ (">" | "<")) => {
            tokens.next();
            let text = tokens.next().text();
            let bound = text.parse().map_err(|error| {
                format!("for 'Gt', 'Lt' operators, the value must be an integer: {error}")
            })?;
            if sign == ">" { Operator::GreaterThan(bound) } else { Operator::LessThan(bound) }
        }
        Token::Word(word @ ("in" | "notin")) => {
            tokens.next();
            let values = value_list(tokens)?;
            if word == "in" { Operator::In(values) } else { Operator::NotIn(values) }
        }
        other => {
            return Err(format!(
                "found '{}', expected: in, notin, =, ==, !=, gt, lt",
                other.text()
            ));
        }
    };
    Ok(Requirement { key, operator })
}

fn key(token: Token<'_>) -> Result<String, String> {
    let Token::Word(word) = token else {
        return Err(format!("found '{}', expected: identifier", token.text()));
    };
    match names::qualified_name(word).as_slice() {
        [] => Ok(word.to_owned()),
        problems => Err(format!("key: Invalid value: \"{word}\": {}", problems.join("; "))),
    }
}

/// A value after `=`; it may be empty.
fn exact_value(tokens: &mut Tokens<'_>) -> Result<String, String> {
    match tokens.peek() {
        Token::Word(word) => {
            tokens.next();
            value(word)
        }
        Token::End | Token::Sign(",") => Ok(String::new()),
        other => Err(format!("found '{}', expected: identifier", other.text())),
    }
}

fn value_list(tokens: &mut Tokens<'_>) -> Result<Vec<String>, String> {
    match tokens.next() {
        Token::Sign("(") => {}
        other => return Err(format!("found '{}', expected: '('", other.text())),
    }
    let mut values = Vec::new();
    loop {
        match tokens.next() {
            Token::Word(word) => values.push(value(word)?),
            Token::Sign(")") if !values.is_empty() => return Ok(values),
            Token::Sign(",") => continue,
            other => return Err(format!("found '{}', expected: ',', or identifier", other.text())),
        }
        match tokens.next() {
            Token::Sign(",") => {}
            Token::Sign(")") => return Ok(values),
            other => return Err(format!("found '{}', expected: ',' or ')'", other.text())),
        }
    }
}

fn value(word: &str) -> Result<String, String> {
    match names::label_value(word).as_slice() {
        [] => Ok(word.to_owned()),
        problems => Err(format!("values: Invalid value: \"{word}\": {}", problems.join("; "))),
    }
}

/// Requirements on the few fields of a kind that may be selected on; all must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FieldSelector {
    terms: Vec<Term>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Term {
    field: String,
    value: String,
    equal: bool,
}

impl FieldSelector {
    /// Reads `metadata.name=web,status.phase!=Failed`.
    ///
    /// # Errors
    /// A 400 Status where the text is no selector or the kind cannot be selected by the field.
    pub(crate) fn parse(kind: &Kind, text: &str) -> Result<Self, StatusError> {
        if text.len() > MAX_SELECTOR_BYTES {
            return Err(StatusError::bad_request("the field selector is too long"));
        }
        let mut terms = Vec::new();
        for term in split_terms(text) {
            terms.push(field_term(kind, text, &term)?);
        }
        Ok(Self { terms })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// The only name that can match, where `metadata.name` is required to be one.
    pub(crate) fn exact_name(&self) -> Option<&str> {
        self.exact("metadata.name")
    }

    /// The only namespace that can match, where `metadata.namespace` is required to be one.
    pub(crate) fn exact_namespace(&self) -> Option<&str> {
        self.exact("metadata.namespace")
    }

    fn exact(&self, field: &str) -> Option<&str> {
        self.terms
            .iter()
            .find(|term| term.equal && term.field == field)
            .map(|term| term.value.as_str())
    }

    /// Whether every term holds for the object.
    pub(crate) fn matches(&self, object: &Value) -> bool {
        self.terms.iter().all(|term| (field_of(object, &term.field) == term.value) == term.equal)
    }
}

/// Cuts at commas that no backslash protects.
fn split_terms(text: &str) -> Vec<String> {
    let mut terms = vec![String::new()];
    let mut escaped = false;
    for c in text.chars() {
        match c {
            ',' if !escaped => terms.push(String::new()),
            _ => {
                if let Some(last) = terms.last_mut() {
                    last.push(c);
                }
            }
        }
        escaped = c == '\\' && !escaped;
    }
    terms.retain(|term| !term.is_empty());
    terms
}

fn field_term(kind: &Kind, selector: &str, term: &str) -> Result<Term, StatusError> {
    let parts = ["!=", "==", "="].iter().find_map(|sign| {
        let (field, value) = term.split_once(sign)?;
        // `a==b` contains `=`, and `a=b!=c` is a question about `a`: the first sign rules.
        (!field.contains(['=', '!'])).then_some((*sign, field, value))
    });
    let Some((sign, field, value)) = parts else {
        return Err(StatusError::bad_request(format!(
            "invalid selector: '{selector}'; can't understand '{term}'"
        )));
    };
    if !kind.selects_by(field) {
        let why = if kind.is_custom() {
            format!("field label \"{field}\" not supported for {}", kind.kind)
        } else {
            format!("field label not supported: {field}")
        };
        return Err(StatusError::bad_request(why));
    }
    Ok(Term { field: field.to_owned(), value: unescape(value), equal: sign != "!=" })
}

fn unescape(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    let mut escaped = false;
    for c in value.chars() {
        if c == '\\' && !escaped {
            escaped = true;
        } else {
            out.push(c);
            escaped = false;
        }
    }
    out
}

/// The field as text. An Event's `source` is its component, or else the controller that reports.
fn field_of(object: &Value, path: &str) -> String {
    if path == "source" {
        let component = field_of(object, "source.component");
        return if component.is_empty() {
            field_of(object, "reportingComponent")
        } else {
            component
        };
    }
    let mut at = object;
    for step in path.split('.') {
        match at.get(step) {
            Some(next) => at = next,
            None => return default_of(path).to_owned(),
        }
    }
    match at {
        Value::String(text) => text.clone(),
        Value::Null => default_of(path).to_owned(),
        other => other.to_string(),
    }
}

/// Kubernetes compares the zero value of a missing field: `false` for a flag, nothing for a text.
fn default_of(path: &str) -> &'static str {
    match path {
        "spec.unschedulable" | "spec.hostNetwork" => "false",
        "status.replicas" => "0",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

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
}
