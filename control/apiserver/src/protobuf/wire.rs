//! The wire format of protocol buffers: tagged fields, read without copying.

/// Why bytes are no message.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum WireError {
    #[error("the message ends in the middle of a field")]
    Truncated,
    #[error("a number is longer than 64 bits")]
    Overlong,
    #[error("wire type {0} does not exist")]
    Type(u8),
    #[error("a text is not UTF-8: {0}")]
    Text(std::str::Utf8Error),
}

/// The content of one field.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum WireValue<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    /// 32 or 64 bits, which no field that we know has.
    Fixed,
}

pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The next field's number and content; `None` at the end.
    pub(super) fn next_field(&mut self) -> Result<Option<(u32, WireValue<'a>)>, WireError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).or(Err(WireError::Overlong))?;
        let value = match (tag & 7) as u8 {
            0 => WireValue::Varint(self.varint()?),
            1 => self.take(8).map(|_| WireValue::Fixed)?,
            2 => {
                let len = self.varint()?;
                WireValue::Bytes(self.take(usize::try_from(len).unwrap_or(usize::MAX))?)
            }
            5 => self.take(4).map(|_| WireValue::Fixed)?,
            other => return Err(WireError::Type(other)),
        };
        Ok(Some((number, value)))
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], WireError> {
        let (head, rest) = self.rest.split_at_checked(len).ok_or(WireError::Truncated)?;
        self.rest = rest;
        Ok(head)
    }

    fn varint(&mut self) -> Result<u64, WireError> {
        let mut out = 0_u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.rest.split_first().ok_or(WireError::Truncated)?;
            self.rest = rest;
            out |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(out);
            }
        }
        Err(WireError::Overlong)
    }
}

/// The content of a field of bytes; empty where there is none, the last where there are several.
pub(super) fn field_bytes(message: &[u8], wanted: u32) -> Result<&[u8], WireError> {
    let mut reader = Reader::new(message);
    let mut found = &[][..];
    while let Some((number, value)) = reader.next_field()? {
        if let WireValue::Bytes(bytes) = value
            && number == wanted
        {
            found = bytes;
        }
    }
    Ok(found)
}
