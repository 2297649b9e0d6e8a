//! The little JSON that is written here: flat objects on one line.

use std::fmt::Write;

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

#[cfg(test)]
mod tests {
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
}
