//! A line being read from left to right, and what is wrong where with it.

/// What is wrong with a line: in words that are the same for all lines that have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// Which byte of the line, counted from 1.
    pub(super) column: usize,
    /// What, as the end of a sentence that begins with the line.
    pub(super) what: &'static str,
    /// What to do about it.
    pub(super) remedy: &'static str,
    /// Whether nothing behind it can be trusted.
    pub(super) is_fatal: bool,
}

/// A line, and how far it was read.
pub(super) struct Cursor<'l> {
    line: &'l [u8],
    at: usize,
}

impl<'l> Cursor<'l> {
    pub(super) const fn new(line: &'l [u8]) -> Self {
        Self { line, at: 0 }
    }

    /// The line from this place on.
    pub(super) const fn at(line: &'l [u8], at: usize) -> Self {
        Self { line, at }
    }

    /// What stands here is not what it should be.
    pub(super) const fn fault(&self, what: &'static str, remedy: &'static str) -> Fault {
        Fault { column: self.at + 1, what, remedy, is_fatal: false }
    }

    pub(super) fn rest(&self) -> &'l [u8] {
        &self.line[self.at..]
    }

    pub(super) fn is_over(&self) -> bool {
        self.at == self.line.len()
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.line.get(self.at).copied()
    }

    pub(super) fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    /// Whether `byte` stands here, which is passed over then.
    pub(super) fn eats(&mut self, byte: u8) -> bool {
        let is = self.peek() == Some(byte);
        self.at += usize::from(is);
        is
    }

    pub(super) fn skip_spaces(&mut self) {
        while self.eats(b' ') {}
    }

    /// Digits, as a number.
    pub(super) fn number(&mut self) -> Option<u64> {
        let from = self.at;
        let mut number = 0_u64;
        while let Some(digit) = self.peek().filter(u8::is_ascii_digit) {
            number = number.checked_mul(10)?.checked_add(u64::from(digit - b'0'))?;
            self.at += 1;
        }
        (self.at > from).then_some(number)
    }

    /// Sixteen hexadecimal digits, as a number.
    pub(super) fn hex(&mut self) -> Option<u64> {
        let digits = self.rest().get(..16)?;
        let mut number = 0_u64;
        for byte in digits {
            let digit = char::from(*byte).to_digit(16)?;
            number = number << 4 | u64::from(digit);
        }
        self.at += digits.len();
        Some(number)
    }

    /// What stands here up to `end`, which is passed over; up to the end of the line without one.
    pub(super) fn until(&mut self, end: u8) -> &'l [u8] {
        let rest = self.rest();
        let length = rest.iter().position(|byte| *byte == end).unwrap_or(rest.len());
        self.at += (length + 1).min(rest.len());
        &rest[..length]
    }

    /// What stands in quotes here; a quote after a backslash is none of them.
    pub(super) fn quoted(&mut self) -> Option<&'l [u8]> {
        if !self.eats(b'"') {
            return None;
        }
        let from = self.at;
        loop {
            match self.next()? {
                b'\\' => drop(self.next()?),
                b'"' => return Some(&self.line[from..self.at - 1]),
                _ => {}
            }
        }
    }
}

/// Microseconds as they are kept.
pub(super) fn micros(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
