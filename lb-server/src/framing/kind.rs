//! Kinds of bytes, as tables: to look a byte up takes one load, and to compare it with all of its kind a dozen
//! steps.

/// Bytes of one kind.
pub(super) struct Kind([bool; 256]);

/// What names of methods and fields are made of (RFC 9110 §5.6.2).
pub(super) static TOKEN: Kind = Kind::letters_digits_and(b"!#$%&'*+-.^_`|~");
/// What a host's name is made of here.
pub(super) static NAME: Kind = Kind::letters_digits_and(b"-._~!$&'()*+,;=");
/// And a path, and a query.
pub(super) static PATH: Kind = Kind::visible_but(b"#<>`");
pub(super) static QUERY: Kind = Kind::visible_but(b"#<>\"");

impl Kind {
    const fn letters_digits_and(others: &[u8]) -> Self {
        let mut table = [false; 256];
        let mut byte = 0;
        while byte < u8::MAX {
            table[byte as usize] = byte.is_ascii_alphanumeric();
            byte += 1;
        }
        Self(table).with(others, true)
    }

    /// What is not ASCII is taken for visible.
    const fn visible_but(others: &[u8]) -> Self {
        let mut table = [true; 256];
        let mut byte = 0;
        while byte <= b' ' {
            table[byte as usize] = false;
            byte += 1;
        }
        Self(table).with(&[0x7f], false).with(others, false)
    }

    const fn with(mut self, bytes: &[u8], are: bool) -> Self {
        let mut at = 0;
        while at < bytes.len() {
            self.0[bytes[at] as usize] = are;
            at += 1;
        }
        self
    }

    pub(super) const fn is(&self, byte: u8) -> bool {
        self.0[byte as usize]
    }

    /// Whether all of them are.
    pub(super) fn are(&self, bytes: &[u8]) -> bool {
        bytes.iter().all(|byte| self.is(*byte))
    }

    /// How many of them are, from the first on.
    pub(super) fn count(&self, bytes: &[u8]) -> usize {
        bytes.iter().position(|byte| !self.is(*byte)).unwrap_or(bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_is_of_the_kinds_that_the_standards_say() {
        for byte in 0..=u8::MAX {
            let among = |others: &[u8]| others.contains(&byte);
            let (is_word, visible) = (byte.is_ascii_alphanumeric(), byte > b' ' && byte != 0x7f);
            assert_eq!(TOKEN.is(byte), is_word || among(b"!#$%&'*+-.^_`|~"), "{byte}");
            assert_eq!(NAME.is(byte), is_word || among(b"-._~!$&'()*+,;="), "{byte}");
            assert_eq!(PATH.is(byte), visible && !among(b"#<>`"), "{byte}");
            assert_eq!(QUERY.is(byte), visible && !among(b"#<>\""), "{byte}");
        }
    }

    #[test]
    fn bytes_are_of_a_kind_up_to_the_first_that_is_not() {
        for (bytes, count) in [("", 0), (":", 0), ("a", 1), ("a:b", 1), ("x-y", 3)] {
            assert_eq!(TOKEN.count(bytes.as_bytes()), count, "{bytes:?}");
            assert_eq!(TOKEN.are(bytes.as_bytes()), count == bytes.len(), "{bytes:?}");
        }
    }
}
