//! Label selectors.

use serde_json::Value;

use super::MAX_SELECTOR_BYTES;
use crate::status_error::StatusError;
use crate::validate::names;

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
