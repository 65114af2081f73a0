//! A chunked body, followed to its end (RFC 9112 §7.1): the guard finds the next head behind it, and
//! whoever reads the body is told what of it is data. It gives up where anything is unusual.

/// Where in a chunked body the next byte lies.
pub(crate) enum Chunks {
    /// In the digits of a size.
    Size { size: u64, digits: u8 },
    /// In blanks behind the digits.
    Blanks { size: u64 },
    /// Behind the digits, in an extension, to the line's end.
    Extension { size: u64, bytes: u16 },
    /// At the line feed of a size line.
    SizeEnd { size: u64 },
    /// In the data of a chunk.
    Data { left: u64 },
    /// At the line end behind the data: CR or LF is next.
    DataEnd { carriage_return: bool },
    /// In a trailer line of so many bytes, behind so many bytes of trailers.
    Trailer { line: u16, bytes: u16, carriage_return: bool },
    /// Behind the body.
    Done,
}

/// How far a body has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// More of it is to come.
    Within,
    /// That was all of it.
    Done,
    /// The next byte is not what it should be.
    Malformed,
}

struct Malformed;

/// Bytes of one extension, and of all trailers.
const EXTRAS_MAX: u16 = 16 * 1024;
/// Digits of a size: 2⁶⁰ bytes and more are no chunk.
const DIGITS_MAX: u8 = 15;

impl Chunks {
    pub(crate) const fn new() -> Self {
        Self::Size { size: 0, digits: 0 }
    }

    /// Follows `bytes` as far as the body goes, and says how many belong to it.
    pub(crate) fn follow(&mut self, bytes: &[u8]) -> (usize, State) {
        let mut at = 0;
        while at < bytes.len() && !matches!(self, Self::Done) {
            if let Self::Data { left } = self {
                let here = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len() - at);
                at += here;
                *left -= here as u64;
                if *left == 0 {
                    *self = Self::DataEnd { carriage_return: false };
                }
            } else {
                let Ok(next) = self.step(bytes[at]) else { return (at, State::Malformed) };
                *self = next;
                at += 1;
            }
        }
        (at, if matches!(self, Self::Done) { State::Done } else { State::Within })
    }

    fn step(&self, byte: u8) -> Result<Self, Malformed> {
        Ok(match (self, byte) {
            (Self::Size { size, digits }, byte) if byte.is_ascii_hexdigit() => {
                if *digits == DIGITS_MAX {
                    return Err(Malformed);
                }
                let digit = char::from(byte).to_digit(16).map_or(0, u64::from);
                Self::Size { size: size * 16 + digit, digits: digits + 1 }
            }
            (Self::Size { digits: 0, .. }, _) => return Err(Malformed),
            (
                Self::Size { size, .. } | Self::Blanks { size } | Self::Extension { size, .. },
                b'\r',
            ) => Self::SizeEnd { size: *size },
            (Self::Size { size, .. } | Self::Blanks { size }, b' ' | b'\t') => {
                Self::Blanks { size: *size }
            }
            (Self::Size { size, .. } | Self::Blanks { size }, b';') => {
                Self::Extension { size: *size, bytes: 0 }
            }
            (Self::Extension { size, bytes }, byte) if byte != b'\n' && *bytes < EXTRAS_MAX => {
                Self::Extension { size: *size, bytes: bytes + 1 }
            }
            (Self::SizeEnd { size: 0 }, b'\n') => {
                Self::Trailer { line: 0, bytes: 0, carriage_return: false }
            }
            (Self::SizeEnd { size }, b'\n') => Self::Data { left: *size },
            (Self::DataEnd { carriage_return: false }, b'\r') => {
                Self::DataEnd { carriage_return: true }
            }
            (Self::DataEnd { carriage_return: true }, b'\n') => Self::new(),
            (Self::Trailer { line: 0, carriage_return: true, .. }, b'\n') => Self::Done,
            (Self::Trailer { bytes, carriage_return: true, .. }, b'\n') => {
                Self::Trailer { line: 0, bytes: *bytes, carriage_return: false }
            }
            (Self::Trailer { line, bytes, carriage_return: false }, b'\r') => {
                Self::Trailer { line: *line, bytes: *bytes, carriage_return: true }
            }
            (Self::Trailer { line, bytes, carriage_return: false }, byte)
                if byte != b'\n' && *bytes < EXTRAS_MAX =>
            {
                Self::Trailer { line: line + 1, bytes: bytes + 1, carriage_return: false }
            }
            _ => return Err(Malformed),
        })
    }
}
