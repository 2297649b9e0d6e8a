//! What the commands of an operator print.

use std::io::{self, Write};

/// Prints text and a line's end to standard output. A reader that has seen enough (`| head`) is no
/// error; a disk that is full is one.
pub(crate) fn print(text: impl AsRef<str>) -> io::Result<()> {
    write(&mut io::stdout().lock(), text.as_ref())
}

fn write(to: &mut impl Write, text: &str) -> io::Result<()> {
    match writeln!(to, "{text}").and_then(|()| to.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}

/// An error with its causes in one line. A cause that the error before it tells already is not said
/// twice.
pub(crate) fn describe(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Refusing(io::ErrorKind);

    impl Write for Refusing {
        fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_left_is_no_error() {
        assert!(write(&mut Refusing(io::ErrorKind::BrokenPipe), "a").is_ok());
        assert!(write(&mut Refusing(io::ErrorKind::StorageFull), "a").is_err());
        let mut good = Vec::new();
        write(&mut good, "a").unwrap();
        assert_eq!(good, b"a\n");
    }

    #[test]
    fn a_cause_is_told_once() {
        let inner = anyhow::anyhow!("not found").context("x.tar: not found");
        assert_eq!(describe(&inner.context("import x.tar")), "import x.tar: x.tar: not found");
        assert_eq!(describe(&anyhow::anyhow!("b").context("a")), "a: b");
    }
}
