//! Reads JSON and YAML into values and notes keys that stand twice in one object.

use std::cell::{Cell, RefCell};
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::yaml::{self, YamlError};

/// The value, and `duplicate field "spec.a"` for every key that was repeated; the last one counts.
pub(super) fn read_json(body: &[u8]) -> Result<(Value, Vec<String>), serde_json::Error> {
    let notes = Notes::new(usize::MAX);
    let mut reader = serde_json::Deserializer::from_slice(body);
    let value = Reader { path: "", notes: &notes }.deserialize(&mut reader)?;
    reader.end()?;
    Ok((value, notes.duplicates.into_inner()))
}

/// The same for YAML. JSON is YAML, and is read as what it is.
pub(crate) fn read_yaml(body: &[u8]) -> Result<(Value, Vec<String>), YamlError> {
    if let Ok(read) = read_json(body) {
        return Ok(read);
    }
    yaml::check(body)?;
    let notes = Notes::new(yaml::MAX_VALUES);
    let reader = serde_norway::Deserializer::from_slice(body);
    let value = Reader { path: "", notes: &notes }.deserialize(reader)?;
    Ok((value, notes.duplicates.into_inner()))
}

/// What is noted while a document is read.
struct Notes {
    duplicates: RefCell<Vec<String>>,
    /// Values that may still come. Aliases make many of few.
    left: Cell<usize>,
}

impl Notes {
    fn new(left: usize) -> Self {
        Self { duplicates: RefCell::default(), left: Cell::new(left) }
    }
}

#[derive(Clone, Copy)]
struct Reader<'a> {
    path: &'a str,
    notes: &'a Notes,
}

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        let left = self.notes.left.get().checked_sub(1);
        self.notes.left.set(left.ok_or_else(|| D::Error::custom("too many values"))?);
        deserializer.deserialize_any(self)
    }
}

/// A key as text: YAML lets numbers and booleans be keys.
struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for Key {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<String, E> {
        Ok(value.to_string())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<String, E> {
        Ok(value.to_string())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<String, E> {
        Ok(value.to_string())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<String, E> {
        Ok(value.to_string())
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        let number = Number::from_f64(value);
        number.map(Value::Number).ok_or_else(|| E::custom("a number must be finite"))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut out = Vec::new();
        loop {
            let path = format!("{}[{}]", self.path, out.len());
            match items.next_element_seed(Reader { path: &path, ..self })? {
                Some(item) => out.push(item),
                None => return Ok(Value::Array(out)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut out = Map::new();
        while let Some(key) = entries.next_key_seed(Key)? {
            let path =
                if self.path.is_empty() { key.clone() } else { format!("{}.{key}", self.path) };
            let value = entries.next_value_seed(Reader { path: &path, ..self })?;
            if out.insert(key, value).is_some() {
                let told = format!("duplicate field \"{path}\"");
                let mut duplicates = self.notes.duplicates.borrow_mut();
                if duplicates.len() < super::MAX_STRICT_ERRORS && !duplicates.contains(&told) {
                    duplicates.push(told);
                }
            }
        }
        Ok(Value::Object(out))
    }
}
