//! Paths as people write them: `65001 65002 {65003,65004}`; confederation segments (RFC 5065) in round
//! and square brackets.

use std::{fmt, str::FromStr};

use viaduct_net::Asn;

use super::{AsPath, Segment, SegmentKind};

/// A text that is no path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no AS path: {problem}")]
pub struct AsPathParseError {
    text: String,
    problem: String,
}

/// What stands around a segment, and between its numbers.
const fn signs(kind: SegmentKind) -> (&'static str, &'static str, &'static str) {
    match kind {
        SegmentKind::Sequence => ("", " ", ""),
        SegmentKind::Set => ("{", ",", "}"),
        SegmentKind::ConfedSequence => ("(", " ", ")"),
        SegmentKind::ConfedSet => ("[", ",", "]"),
    }
}

impl fmt::Display for AsPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, segment) in self.segments.iter().enumerate() {
            if i > 0 {
                f.write_str(" ")?;
            }
            let (open, separator, close) = signs(segment.kind);
            f.write_str(open)?;
            for (i, asn) in segment.asns.iter().enumerate() {
                if i > 0 {
                    f.write_str(separator)?;
                }
                write!(f, "{asn}")?;
            }
            f.write_str(close)?;
        }
        Ok(())
    }
}

impl FromStr for AsPath {
    type Err = AsPathParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = |problem: String| AsPathParseError { text: text.to_owned(), problem };
        let mut segments: Vec<Segment> = Vec::new();
        let mut rest = text.trim();
        while !rest.is_empty() {
            let bracketed = [SegmentKind::Set, SegmentKind::ConfedSequence, SegmentKind::ConfedSet]
                .into_iter()
                .find_map(|kind| Some((kind, rest.strip_prefix(signs(kind).0)?)));
            let (kind, numbers, behind) = match bracketed {
                Some((kind, inside)) => {
                    let (open, _, close) = signs(kind);
                    let (numbers, behind) = inside
                        .split_once(close)
                        .ok_or_else(|| wrong(format!("`{open}` has no `{close}`")))?;
                    (kind, numbers, behind)
                }
                None => {
                    let end = rest.find(['{', '(', '[']).unwrap_or(rest.len());
                    let (numbers, behind) = rest.split_at(end);
                    (SegmentKind::Sequence, numbers, behind)
                }
            };
            let asns = numbers.split([' ', ',']).filter(|number| !number.is_empty());
            let asns = asns.map(|number| match number.parse::<Asn>() {
                Ok(asn) if !asn.is_zero() => Ok(asn),
                _ => Err(wrong(format!("`{number}` is no AS number"))),
            });
            let asns = asns.collect::<Result<Vec<_>, _>>()?;
            if asns.is_empty() {
                return Err(wrong("a segment without AS numbers".to_owned()));
            }
            segments.push(Segment { kind, asns });
            rest = behind.trim_start();
        }
        Ok(Self::new(segments))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for text in [
            "",
            "65001",
            "65001 65002 {65003,65004}",
            "(64512 64513) [64514,64515] 4200000000 65001",
        ] {
            assert_eq!(text.parse::<AsPath>().unwrap().to_string(), text);
        }
        let spaced = "  65001,65002   { 65003 65004 }  ".parse::<AsPath>().unwrap();
        assert_eq!(spaced.to_string(), "65001 65002 {65003,65004}");
    }

    #[test]
    fn what_is_no_path_is_told() {
        for (text, problem) in [
            ("65001 x", "`x` is no AS number"),
            ("0", "`0` is no AS number"),
            ("65001 {65002", "`{` has no `}`"),
            ("65001 {}", "a segment without AS numbers"),
            ("65001 65002}", "`65002}` is no AS number"),
            ("4294967296", "`4294967296` is no AS number"),
        ] {
            let error = text.parse::<AsPath>().unwrap_err().to_string();
            assert_eq!(error, format!("`{text}` is no AS path: {problem}"));
        }
    }
}
