//! Expressions over AS paths, in the notation of routers.

use std::fmt::Write;

use bgp_wire::{AttributeSet, SegmentKind};
use regex::bytes::{Regex, RegexBuilder};

/// The longest expression, in octets.
pub const MAX_PATTERN_LEN: usize = 256;

/// Octets that a compiled expression may take; long repetitions of long things do not fit.
const MAX_COMPILED: usize = 256 << 10;

/// Brackets within brackets.
const MAX_NESTING: u32 = 16;

/// What `_` stands for: a boundary of a number.
const BOUNDARY: &str = r"(?:^|$|[ ,{}()\[\]])";

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AsPathError {
    #[error("{0} octets, more than the {MAX_PATTERN_LEN} of the longest expression")]
    TooLong(usize),
    #[error("`{0}` never stands in an AS path")]
    Character(char),
    #[error("`_` within [ ]: a boundary is no single character")]
    BoundaryInClass,
    #[error("takes too much memory: fewer or shorter repetitions")]
    TooLarge,
    #[error("{0}")]
    Syntax(String),
}

/// A regular expression over a path as [`bgp_wire::AsPath`] is written: numbers with a space between
/// them, sets as `{65003,65004}`, confederation segments in round and square brackets. `_` is the
/// beginning, the end, a space, a comma or a bracket; the rest is as in POSIX. It is looked for
/// anywhere in the path unless `^` and `$` say otherwise.
///
/// Takes time linear in the path.
#[derive(Clone, Debug)]
pub struct AsPathPattern {
    text: String,
    regex: Regex,
}

impl AsPathPattern {
    pub fn new(text: &str) -> Result<Self, AsPathError> {
        if text.len() > MAX_PATTERN_LEN {
            return Err(AsPathError::TooLong(text.len()));
        }
        let regex = RegexBuilder::new(&translate(text)?)
            .unicode(false)
            .size_limit(MAX_COMPILED)
            .dfa_size_limit(MAX_COMPILED)
            .nest_limit(MAX_NESTING)
            .build()
            .map_err(|error| match error {
                regex::Error::CompiledTooBig(_) => AsPathError::TooLarge,
                other => AsPathError::Syntax(last_line(&other.to_string())),
            })?;
        Ok(Self { text: text.to_owned(), regex })
    }

    /// As it was given.
    pub fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn matches(&self, path: &str) -> bool {
        self.regex.is_match(path.as_bytes())
    }
}

impl PartialEq for AsPathPattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for AsPathPattern {}

/// The path as expressions see it.
pub(crate) fn render(attributes: &AttributeSet) -> String {
    let mut out = String::with_capacity(16 * attributes.facts().as_path_len() as usize);
    for (kind, asns) in attributes.as_path() {
        if !out.is_empty() {
            out.push(' ');
        }
        let (open, separator, close) = match kind {
            SegmentKind::Sequence => ("", ' ', ""),
            SegmentKind::Set => ("{", ',', "}"),
            SegmentKind::ConfedSequence => ("(", ' ', ")"),
            SegmentKind::ConfedSet => ("[", ',', "]"),
        };
        out.push_str(open);
        for (at, asn) in asns.enumerate() {
            if at > 0 {
                out.push(separator);
            }
            // Writing to a string does not fail.
            let _infallible = write!(out, "{asn}");
        }
        out.push_str(close);
    }
    out
}

/// Into the syntax of the `regex` crate, which differs in the boundary, and in much that never
/// stands in a path and is not let through.
fn translate(text: &str) -> Result<String, AsPathError> {
    let mut out = String::with_capacity(4 * text.len());
    let mut in_class = false;
    let mut escaped = false;
    for character in text.chars() {
        if !character.is_ascii_digit() && !r" ,^$.*+?()[]{}|-_\".contains(character) {
            return Err(AsPathError::Character(character));
        }
        if std::mem::take(&mut escaped) {
            out.push(character);
            continue;
        }
        match character {
            '_' if in_class => return Err(AsPathError::BoundaryInClass),
            '_' => out.push_str(BOUNDARY),
            _ => {
                escaped = character == '\\';
                in_class = in_class && character != ']' || character == '[';
                out.push(character);
            }
        }
    }
    Ok(out)
}

/// The crate's errors draw the expression, which is not what was written, and then say what is wrong.
fn last_line(text: &str) -> String {
    let line = text.lines().next_back().unwrap_or(text).trim();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

#[cfg(test)]
mod tests {
    use bgp_wire::{AsPath, PathAttributes, Segment};
    use viaduct_net::Asn;

    use super::*;

    /// `65001 {1,2} (3 4) [5]` as a path.
    fn path(text: &str) -> AttributeSet {
        let mut segments = Vec::new();
        let mut rest = text.trim();
        while !rest.is_empty() {
            let (kind, close) = match rest.as_bytes()[0] {
                b'{' => (SegmentKind::Set, "}"),
                b'(' => (SegmentKind::ConfedSequence, ")"),
                b'[' => (SegmentKind::ConfedSet, "]"),
                _ => (SegmentKind::Sequence, ""),
            };
            let end = match close {
                "" => rest.find(['{', '(', '[']).unwrap_or(rest.len()),
                close => rest.find(close).unwrap() + 1,
            };
            let numbers = rest[..end].split(|c: char| !c.is_ascii_digit());
            let asns = numbers.filter_map(|number| number.parse().ok()).map(Asn::new).collect();
            segments.push(Segment { kind, asns });
            rest = rest[end..].trim();
        }
        PathAttributes { as_path: AsPath::new(segments), ..PathAttributes::default() }.into()
    }

    #[test]
    fn paths_are_rendered_as_they_are_written() {
        for text in ["", "65001", "65001 65002 {65003,65004} 1", "(1 2) [3,4] 5 {6}"] {
            let attributes = path(text);
            assert_eq!(render(&attributes), text);
            assert_eq!(attributes.open().as_path.to_string(), text);
        }
    }

    #[test]
    fn the_usual_notation() {
        for (pattern, paths) in [
            ("^$", &[("", true), ("65001", false)][..]),
            (".*", &[("", true), ("65001 65002", true)]),
            (
                "^65001_",
                &[("65001", true), ("65001 2", true), ("650010", false), ("2 65001", false)],
            ),
            (
                "_65001$",
                &[("65001", true), ("2 65001", true), ("165001", false), ("65001 2", false)],
            ),
            (
                "_65001_",
                &[
                    ("65001", true),
                    ("1 65001 2", true),
                    ("{65001,2}", true),
                    ("1 {2,65001}", true),
                    ("(65001 5) 1", true),
                    ("[5,65001]", true),
                    ("165001 650012", false),
                ],
            ),
            ("^65001$", &[("65001", true), ("65001 65001", false)]),
            ("^65001( 65001)*$", &[("65001", true), ("65001 65001", true), ("65001 2", false)]),
            ("^65001(_65001)*$", &[("65001 65001 65001", true), ("65001 65002", false)]),
            ("^[0-9]+$", &[("1", true), ("1 2", false), ("", false)]),
            ("^[0-9]+_[0-9]+$", &[("1 2", true), ("1 2 3", false)]),
            ("^(65001|65002)_", &[("65002 1", true), ("65003 1", false)]),
            ("_6500[1-3]_", &[("1 65002 4", true), ("65004", false)]),
            ("_6500[^1-3]_", &[("65002", false), ("65004", true)]),
            (
                "65001_65002",
                &[("65001 65002", true), ("65001,65002", false), ("{65001,65002}", true)],
            ),
            ("^([0-9]+ ){2,3}65001$", &[("1 2 65001", true), ("1 65001", false)]),
            (r"\{", &[("1 {2}", true), ("1 2", false)]),
            ("5.01", &[("65001", true), ("5201", true), ("501", false)]),
            ("", &[("", true), ("1", true)]),
        ] {
            let compiled = AsPathPattern::new(pattern).unwrap();
            for (text, expected) in paths {
                if text.contains(',') && !text.contains(['{', '[']) {
                    continue;
                }
                let found = compiled.matches(&render(&path(text)));
                assert_eq!(found, *expected, "{pattern} in `{text}`");
            }
        }
    }

    #[test]
    fn what_is_no_expression_is_refused() {
        use AsPathError as Error;
        for (pattern, expected) in [
            ("abc", Some(Error::Character('a'))),
            (r"\d", Some(Error::Character('d'))),
            ("(?i)1", Some(Error::Character('i'))),
            ("[_1]", Some(Error::BoundaryInClass)),
            ("(1{200}){200}{200}", Some(Error::TooLarge)),
            ("*", None),
            ("(1", None),
            ("[1", None),
            ("1{2,1}", None),
            (r"(1)\1", None),
            ("1\\", None),
            ("((((((((((((((((((1))))))))))))))))))", None),
        ] {
            let error = AsPathPattern::new(pattern).unwrap_err();
            match expected {
                Some(expected) => assert_eq!(error, expected, "{pattern}"),
                None => assert!(matches!(error, Error::Syntax(_)), "{pattern}: {error}"),
            }
            assert_eq!(error.to_string().lines().count(), 1, "{error}");
        }
        let long = "1".repeat(MAX_PATTERN_LEN + 1);
        assert_eq!(AsPathPattern::new(&long), Err(Error::TooLong(MAX_PATTERN_LEN + 1)));
    }
}
