//! The little JSON that is written here, on one line, and enough of a reader to know what may be
//! put into it.

use std::fmt::Write;

/// Deeper than any answer of ours; a reader that recurses must stop somewhere.
const DEPTH_MAX: usize = 64;

/// An object being written; fields stay in the order in which they were put.
pub(crate) struct Object(String);

impl Object {
    pub(crate) fn new() -> Self {
        Self(String::from("{"))
    }

    pub(crate) fn string(self, name: &str, value: &str) -> Self {
        let quoted = quote(value);
        self.raw(name, &quoted)
    }

    pub(crate) fn optional(self, name: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.string(name, value),
            None => self,
        }
    }

    /// `value` must be JSON already.
    pub(crate) fn raw(mut self, name: &str, value: &str) -> Self {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        self.0.push_str(&quote(name));
        self.0.push(':');
        self.0.push_str(value);
        self
    }

    pub(crate) fn finish(mut self) -> String {
        self.0.push('}');
        self.0
    }
}

/// An array of what is JSON already.
pub(crate) fn array(items: impl IntoIterator<Item = String>) -> String {
    let items: Vec<String> = items.into_iter().collect();
    format!("[{}]", items.join(","))
}

pub(crate) fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c < ' ' => {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// The value of a string field in an object that [`Object`] wrote: no escapes are undone.
pub(crate) fn string_field<'a>(object: &'a str, name: &str) -> Option<&'a str> {
    let marker = format!("\"{name}\":\"");
    let start = object.find(&marker)? + marker.len();
    let length = object[start..].find('"')?;
    Some(&object[start..start + length])
}

/// Whether the text is one JSON object (RFC 8259) on one line, which may be put into another.
pub(crate) fn is_object(text: &str) -> bool {
    if !text.starts_with('{') || text.contains('\n') {
        return false;
    }
    let mut reader = Reader(text.as_bytes());
    reader.value(DEPTH_MAX).is_some() && reader.0.is_empty()
}

/// What is left to be read; `None` says that it is not JSON.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn space(&mut self) {
        let end = self.0.iter().position(|b| !b" \t\r\n".contains(b)).unwrap_or(self.0.len());
        self.0 = &self.0[end..];
    }

    fn take(&mut self, token: &[u8]) -> Option<()> {
        self.0 = self.0.strip_prefix(token)?;
        Some(())
    }

    fn value(&mut self, depth: usize) -> Option<()> {
        self.space();
        match self.0.first()? {
            b'{' => self.list(depth, b'{', b'}', |reader, depth| {
                reader.space();
                reader.string()?;
                reader.space();
                reader.take(b":")?;
                reader.value(depth)
            }),
            b'[' => self.list(depth, b'[', b']', |reader, depth| reader.value(depth)),
            b'"' => self.string(),
            b't' => self.take(b"true"),
            b'f' => self.take(b"false"),
            b'n' => self.take(b"null"),
            _ => self.number(),
        }
    }

    fn list(
        &mut self,
        depth: usize,
        open: u8,
        close: u8,
        item: impl Fn(&mut Self, usize) -> Option<()>,
    ) -> Option<()> {
        let depth = depth.checked_sub(1)?;
        self.take(&[open])?;
        self.space();
        if self.take(&[close]).is_some() {
            return Some(());
        }
        loop {
            item(self, depth)?;
            self.space();
            if self.take(&[close]).is_some() {
                return Some(());
            }
            self.take(b",")?;
        }
    }

    fn string(&mut self) -> Option<()> {
        self.take(b"\"")?;
        loop {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            match byte {
                b'"' => return Some(()),
                b'\\' => {
                    let (&escaped, rest) = self.0.split_first()?;
                    self.0 = rest;
                    match escaped {
                        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => {}
                        b'u' => {
                            let (digits, rest) = self.0.split_at_checked(4)?;
                            digits.iter().all(u8::is_ascii_hexdigit).then_some(())?;
                            self.0 = rest;
                        }
                        _ => return None,
                    }
                }
                0..0x20 => return None,
                _ => {}
            }
        }
    }

    fn number(&mut self) -> Option<()> {
        let _negative = self.take(b"-");
        if self.take(b"0").is_none() {
            self.digits()?;
        }
        if self.take(b".").is_some() {
            self.digits()?;
        }
        if self.take(b"e").or_else(|| self.take(b"E")).is_some() {
            let _sign = self.take(b"+").or_else(|| self.take(b"-"));
            self.digits()?;
        }
        Some(())
    }

    fn digits(&mut self) -> Option<()> {
        let count = self.0.iter().take_while(|b| b.is_ascii_digit()).count();
        self.0 = &self.0[count..];
        (count > 0).then_some(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_object_keeps_its_order_and_escapes() {
        let object = Object::new().string("a", "x\"\\\n").raw("n", "1").optional("o", None);
        assert_eq!(object.finish(), r#"{"a":"x\"\\\u000a","n":1}"#);
    }

    #[test]
    fn a_field_is_found_again() {
        let object = Object::new().string("pod", "web-1").string("node", "n1").finish();
        assert_eq!(string_field(&object, "node"), Some("n1"));
        assert_eq!(string_field(&object, "none"), None);
    }

    #[test]
    fn an_object_is_told_from_what_is_none() {
        for right in [
            "{}",
            r#"{ "a" : [ 1 , -0.5e+3 , true , false , null , "\u00e9\"" , { } , [ ] ] }"#,
            r#"{"a":{"b":{}},"c":0}"#,
        ] {
            assert!(is_object(right), "{right}");
        }
        for wrong in [
            "",
            "{",
            "[]",
            "{} {}",
            r#"{"a"}"#,
            r#"{"a":}"#,
            r#"{"a":1,}"#,
            r#"{"a":01}"#,
            r#"{"a":1.}"#,
            r#"{"a":"\x"}"#,
            r#"{"a":"\u12"}"#,
            "{\"a\":\"\t\"}",
            "{\n}",
            r#"{"a":tru}"#,
            r#"{a:1}"#,
            "ok",
        ] {
            assert!(!is_object(wrong), "{wrong}");
        }
        assert!(!is_object(&r#"{"a":"#.repeat(10_000)), "too deep");
    }

    proptest! {
        #[test]
        fn what_is_written_is_an_object(name: String, text: String) {
            let inner = Object::new().string(&name, &text).finish();
            let outer = Object::new().raw("calls", &array([inner.clone(), inner])).finish();
            prop_assert!(is_object(&outer), "{}", outer);
        }

        #[test]
        fn a_part_of_an_object_is_none(text: String, cut in 1..200usize) {
            let whole = Object::new().string("a", &text).raw("b", "[1,2]").finish();
            if let Some((part, _)) = whole.split_at_checked(whole.len().saturating_sub(cut)) {
                prop_assert!(!is_object(part), "{}", part);
            }
        }
    }
}
