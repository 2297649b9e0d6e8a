//! YAML, with bounds.

use serde_json::Value;

use crate::validate::read_yaml;

/// A longer document is refused. It is scanned much more slowly than JSON, which clients send where
/// they have much to say, and some documents more slowly the longer they are.
const MAX_BYTES: usize = 256 << 10;
/// Brackets that are open at once. What is deeper than a tenth of this is refused when it is read;
/// the scanner before that takes time by the square of it.
const MAX_OPEN: usize = 1000;

/// Values that a document may have when its aliases are written out.
pub(crate) const MAX_VALUES: usize = MAX_BYTES;

#[derive(Debug, thiserror::Error)]
pub(crate) enum YamlError {
    #[error("YAML of {0} bytes is too long: at most {MAX_BYTES} are read; send JSON")]
    TooLong(usize),
    #[error("more than {MAX_OPEN} brackets are open at once")]
    TooDeep,
    #[error(transparent)]
    Syntax(#[from] serde_norway::Error),
}

/// One document. Nesting is limited to 128 levels.
pub(crate) fn parse(text: &[u8]) -> Result<Value, YamlError> {
    read_yaml(text).map(|(value, _duplicates)| value)
}

/// Refuses what the parser would take long for.
pub(crate) fn check(text: &[u8]) -> Result<(), YamlError> {
    if text.len() > MAX_BYTES {
        return Err(YamlError::TooLong(text.len()));
    }
    let mut open = 0_usize;
    for byte in text {
        match byte {
            b'[' | b'{' => open += 1,
            b']' | b'}' => open = open.saturating_sub(1),
            _ => {}
        }
        if open > MAX_OPEN {
            return Err(YamlError::TooDeep);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn json_may_be_long() {
        let text = format!("{{\"a\": \"{}\"}}", "[".repeat(MAX_BYTES));
        assert!(parse(text.as_bytes()).unwrap()["a"].is_string());
        let text = format!("a: {}", "b".repeat(MAX_BYTES));
        assert!(matches!(parse(text.as_bytes()), Err(YamlError::TooLong(_))));
    }

    #[test]
    fn aliases_do_not_multiply() {
        let mut text = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
        for n in 1..400 {
            let alias = format!("*a{},", n - 1).repeat(10);
            text.push_str(&format!("a{n}: &a{n} [{alias}]\n"));
        }
        assert!(matches!(parse(text.as_bytes()), Err(YamlError::Syntax(_))));
        let few = "a: &a {b: c}\nd: *a\n";
        assert_eq!(parse(few.as_bytes()).unwrap()["d"]["b"], "c");
    }

    #[test]
    fn no_document_takes_long() {
        for unit in [
            "[",
            "{a: ",
            "- ",
            "? ",
            "!<a> ",
            "---\n",
            "%YAML 1.1\n",
            "a:b:",
            "#\n",
            "\"\\x41",
            "&a ",
            "*a ",
            "a: |\n",
            "- a\n",
            "? a\n",
            "a: b\n",
            "\t",
            "'",
            "<<: *a\n",
            ",",
            "[]",
            "a:\n ",
            "!",
            "%",
            "@",
            "- - ",
            "[a,",
            "{a,",
            "a, ",
            "[[]",
            "'a' : ",
        ] {
            let text = unit.repeat(MAX_BYTES / unit.len());
            let begun = Instant::now();
            let read = parse(text.as_bytes()).is_ok();
            let took = begun.elapsed();
            println!("{unit:?}: {took:.1?}, read: {read}");
            assert!(took < Duration::from_secs(20), "{unit:?} took {took:?}");
        }
    }
}
