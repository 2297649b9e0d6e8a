//! The commands of a page of docs/, and what it says that they print.

use std::fmt::Write;

/// One command of a `console` block, and the lines below it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub command: String,
    pub output: Vec<String>,
}

/// The commands of all `console` blocks, in their order. A command begins with `$ `, and goes on in
/// lines that begin with `> `.
pub(crate) fn steps(page: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut inside = false;
    for line in page.lines() {
        if line.starts_with("```") {
            inside = line == "```console";
        } else if !inside {
        } else if let Some(command) = line.strip_prefix("$ ") {
            steps.push(Step { command: command.to_owned(), output: Vec::new() });
        } else if let Some(step) = steps.last_mut() {
            match line.strip_prefix("> ") {
                Some(more) if step.output.is_empty() => {
                    // Writing to a String cannot fail.
                    let _ = write!(step.command, "\n{more}");
                }
                _ => step.output.push(line.to_owned()),
            }
        }
    }
    steps
}

impl Step {
    /// Whether it only says what later commands mean: those that come after it need it.
    pub(crate) fn is_definition(&self) -> bool {
        let (name, _) = self.command.split_once('=').unwrap_or_default();
        name.starts_with("alias ")
            || (!name.is_empty()
                && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()))
    }

    /// The first line of the page that `printed` lacks. What differs from one run to another does
    /// not count, nor does the order; `…` stands for whatever else there is.
    pub(crate) fn missing<'a>(&'a self, printed: &str) -> Option<&'a str> {
        let printed: Vec<String> = printed.lines().map(mask).collect();
        let wanted = self.output.iter().filter(|line| !line.is_empty() && line.trim() != "…");
        wanted.map(String::as_str).find(|line| !printed.contains(&mask(line)))
    }
}

/// A line without what is another each time: numbers, addresses, ages, generated names, the width
/// of columns.
fn mask(line: &str) -> String {
    let words: Vec<String> = line.split_whitespace().map(mask_word).collect();
    words.join(" ")
}

fn mask_word(word: &str) -> String {
    let mut masked = String::new();
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | ':' | '[' | ']');
    let mut rest = word;
    while let Some(first) = rest.chars().next() {
        let length = rest.find(|c| is_part(c) != is_part(first)).unwrap_or(rest.len());
        let (part, behind) = rest.split_at(length);
        let differs =
            is_part(first) && (part.contains(|c: char| c.is_ascii_digit()) || is_hash(part));
        masked += if differs { "#" } else { part };
        rest = behind;
    }
    masked
}

/// The letters from which Kubernetes makes names: no vowels, so that no words come of it.
fn is_hash(part: &str) -> bool {
    part.len() >= 5 && part.bytes().all(|byte| b"bcdfghjklmnpqrstvwxz2456789".contains(&byte))
}

#[test]
fn commands_and_their_outputs_are_found() {
    let page = "text\n```sh\n$ not me\n```\n```console\n$ a \\\n>  b\n1\n2\n$ c\n```\n$ nor me\n";
    let step = |command: &str, output: &[&str]| Step {
        command: command.to_owned(),
        output: output.iter().map(|&line| line.to_owned()).collect(),
    };
    assert_eq!(steps(page), [step("a \\\n b", &["1", "2"]), step("c", &[])]);
}

#[test]
fn what_is_another_each_time_does_not_count() {
    for (a, b) in [
        ("web-7d9f8b6c4-xkwvz   1/1   5s   10.244.0.65", "web-5c4bb-2tplk 1/1 1m5s 10.244.0.7"),
        ("http://203.0.113.1/ on node-2", "http://203.0.113.9/ on node-1"),
        ("[fd00:10:96::1]:80,80:30086/TCP", "[fd00:10:96::f2]:80,80:31000/TCP"),
    ] {
        assert_eq!(mask(a), mask(b));
    }
    assert_ne!(mask("deployment.apps/web created"), mask("deployment.apps/web configured"));
    assert_ne!(mask("user-thrift-service"), mask("user-edge-service"));
    let step =
        Step { command: String::new(), output: vec!["a 1".into(), "…".into(), "b".into()] };
    assert_eq!(step.missing("b\nc\na 2\n"), None);
    assert_eq!(step.missing("a 2\n"), Some("b"));
}

#[test]
fn definitions_are_told_from_commands() {
    let of =
        |command: &str| Step { command: command.to_owned(), output: Vec::new() }.is_definition();
    assert!(of("alias kubectl='kubectl --server=x'") && of("vip=$(kubectl get)"));
    assert!(!of("kubectl set env x A=1") && !of("kubectl get"));
}
