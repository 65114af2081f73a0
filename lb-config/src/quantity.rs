//! Durations and sizes as text: a number never stands without its unit.
//!
//! ```
//! use std::time::Duration;
//! use lb_config::quantity::{duration, show_duration, show_size, size};
//!
//! assert_eq!(duration("1m30s"), Ok(Duration::from_secs(90)));
//! assert_eq!(show_duration(Duration::from_millis(1_500)), "1s500ms");
//! assert_eq!(size("1.5KiB"), Ok(1_536));
//! assert_eq!(show_size(65_536), "64KiB");
//! assert!(duration("30").is_err());
//! ```
//!
//! Nothing is rounded: what is finer than a microsecond, or than a byte, is refused.

use std::time::Duration;

use crate::read::Mistake;

/// Units of time in microseconds, the longest first.
const TIMES: [(&str, u64); 6] = [
    ("d", 86_400_000_000),
    ("h", 3_600_000_000),
    ("m", 60_000_000),
    ("s", 1_000_000),
    ("ms", 1_000),
    ("us", 1),
];

/// Units of size in bytes. Powers of 1,000 and of 1,024 have names of their own.
const SIZES: [(&str, u64); 7] = [
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("kB", 1_000),
    ("B", 1),
];

/// Reads `"250ms"`, `"1.5s"`, `"1m30s"`, `"7d"`: numbers with units, the longest unit first.
///
/// # Errors
/// What is wrong, and what to write instead.
pub fn duration(text: &str) -> Result<Duration, Mistake> {
    let mut rest = text;
    let mut micros: u64 = 0;
    let mut units = TIMES.iter();
    loop {
        let (amount, after) = split_number(rest).ok_or_else(not_a_duration)?;
        let unit_end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        if unit.is_empty() {
            return Err(Mistake::new("has no unit", format!("write \"{text}s\"")));
        }
        // A unit that was passed over is not found again: "30s1m" and "1s2s" are slips.
        let Some((_, scale)) = units.find(|(known, _)| *known == unit) else {
            return Err(match TIMES.iter().any(|(known, _)| *known == unit) {
                true => Mistake::new(
                    "has its units out of order",
                    "write the longest unit first, each once",
                ),
                false => not_a_duration(),
            });
        };
        let part = amount.times(*scale).map_err(|inexact| match inexact {
            Inexact::Finer => {
                Mistake::new("is finer than a microsecond", "write a multiple of \"1us\"")
            }
            Inexact::Huge => Mistake::new("is too long", "write fewer digits"),
        })?;
        micros = micros
            .checked_add(part)
            .ok_or_else(|| Mistake::new("is too long", "write fewer digits"))?;
        if after.is_empty() {
            return Ok(Duration::from_micros(micros));
        }
        rest = after;
    }
}

/// Reads `"512B"`, `"64KiB"`, `"1.5MB"`: one number with one unit.
///
/// # Errors
/// What is wrong, and what to write instead.
pub fn size(text: &str) -> Result<usize, Mistake> {
    let (amount, unit) = split_number(text).ok_or_else(not_a_size)?;
    if unit.is_empty() {
        let remedy = match amount.times(1).ok().and_then(|size| usize::try_from(size).ok()) {
            Some(size) => format!("write {:?}", show_size(size)),
            None => "write a number with B, kB, MB, GB, KiB, MiB or GiB".into(),
        };
        return Err(Mistake::new("has no unit", remedy));
    }
    let (_, scale) = SIZES.iter().find(|(known, _)| *known == unit).ok_or_else(not_a_size)?;
    let too_large = || Mistake::new("is too large", "write fewer digits");
    let bytes = amount.times(*scale).map_err(|inexact| match inexact {
        Inexact::Finer => {
            Mistake::new("is not a whole number of bytes", "write a multiple of \"1B\"")
        }
        Inexact::Huge => too_large(),
    })?;
    usize::try_from(bytes).map_err(|_| too_large())
}

/// Writes a duration as [`duration`] reads it. Less than a microsecond is left out.
pub fn show_duration(duration: Duration) -> String {
    let mut micros = duration.as_micros();
    let mut shown = String::new();
    for (unit, scale) in TIMES {
        let scale = u128::from(scale);
        if micros >= scale {
            shown += &format!("{}{unit}", micros / scale);
            micros %= scale;
        }
    }
    if shown.is_empty() { "0s".into() } else { shown }
}

/// Writes a size as [`size`] reads it, in the largest binary unit that leaves no fraction.
pub fn show_size(bytes: usize) -> String {
    let binary = [("GiB", 1_usize << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    let exact = binary.iter().find(|(_, scale)| bytes > 0 && bytes.is_multiple_of(*scale));
    match exact {
        Some((unit, scale)) => format!("{}{unit}", bytes / scale),
        None => format!("{bytes}B"),
    }
}

/// A decimal number: `digits / 10^decimals`.
#[derive(Clone, Copy)]
struct Amount {
    digits: u64,
    decimals: u32,
}

/// Why an amount is not a whole number of the smallest unit.
enum Inexact {
    Finer,
    Huge,
}

impl Amount {
    /// The amount in units of 1/`scale`.
    fn times(self, scale: u64) -> Result<u64, Inexact> {
        let product = u128::from(self.digits) * u128::from(scale); // 64 + 64 bits: never too large
        let divisor = 10_u128.pow(self.decimals); // at most 10^DIGITS_MAX
        if !product.is_multiple_of(divisor) {
            return Err(Inexact::Finer);
        }
        u64::try_from(product / divisor).map_err(|_| Inexact::Huge)
    }
}

/// Digits of a number, those after the point included: all fit in 64 bits.
const DIGITS_MAX: usize = 19;

/// `1.5s` is 1.5 and `s`. `None` if there is no number at the start, or one with too many digits.
fn split_number(text: &str) -> Option<(Amount, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    let (whole, fraction) = match number.split_once('.') {
        Some((_, "")) => return None,
        Some(parts) => parts,
        None => (number, ""),
    };
    if whole.is_empty() || fraction.contains('.') || whole.len() + fraction.len() > DIGITS_MAX {
        return None;
    }
    let digits = format!("{whole}{fraction}").parse().ok()?;
    Some((Amount { digits, decimals: u32::try_from(fraction.len()).ok()? }, rest))
}

fn not_a_duration() -> Mistake {
    Mistake::new(
        "is not a duration",
        "write a number with us, ms, s, m, h or d, as in \"250ms\", \"30s\" or \"1m30s\"",
    )
}

fn not_a_size() -> Mistake {
    Mistake::new(
        "is not a size",
        "write a number with B, kB, MB, GB, KiB, MiB or GiB, as in \"64KiB\"",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_duration(text: &str, expected: Result<u64, &str>) {
        let read = duration(text);
        let read = read.as_ref().map(Duration::as_micros).map_err(|mistake| mistake.what.as_str());
        assert_eq!(read, expected.map(u128::from), "{text}");
    }

    fn check_size(text: &str, expected: Result<usize, &str>) {
        let read = size(text);
        assert_eq!(read.as_ref().copied().map_err(|m| m.what.as_str()), expected, "{text}");
    }

    #[test]
    fn a_duration_is_numbers_with_units_longest_first() {
        check_duration("250ms", Ok(250_000));
        check_duration("1.5s", Ok(1_500_000));
        check_duration("1m30s", Ok(90_000_000));
        check_duration("2h", Ok(7_200_000_000));
        check_duration("7d", Ok(604_800_000_000));
        check_duration("1us", Ok(1));
        check_duration("0s", Ok(0));
        check_duration("0.25ms", Ok(250));
        for text in ["", "s", "ms30", "30 s", " 30s", "30s ", "-1s", "+1s", "1.s", ".5s", "1..5s"] {
            check_duration(text, Err("is not a duration"));
        }
        for text in ["30sec", "1M", "30S", "1µs", "99999999999999999999s", "1.2.3s"] {
            check_duration(text, Err("is not a duration"));
        }
        check_duration("30", Err("has no unit"));
        check_duration("1m30", Err("has no unit"));
        check_duration("30s1m", Err("has its units out of order"));
        check_duration("1s1s", Err("has its units out of order"));
        check_duration("0.5us", Err("is finer than a microsecond"));
        check_duration("9999999999999999999d", Err("is too long"));
    }

    #[test]
    fn a_size_is_one_number_with_one_unit() {
        check_size("0B", Ok(0));
        check_size("512B", Ok(512));
        check_size("64KiB", Ok(65_536));
        check_size("10MiB", Ok(10_485_760));
        check_size("1kB", Ok(1_000));
        check_size("1.5MB", Ok(1_500_000));
        check_size("65536", Err("has no unit"));
        check_size("0.5B", Err("is not a whole number of bytes"));
        check_size("9999999999999999999GiB", Err("is too large"));
        for text in ["", "KiB", "1 KiB", "1KB", "1K", "1kib", "-1B", "1KiB1B"] {
            check_size(text, Err("is not a size"));
        }
    }

    #[test]
    fn what_is_shown_reads_as_what_it_was() {
        // Steps of a large odd number visit all lengths: the low bits of each product are mixed up.
        let spread = (1..2_000_u64).map(|i| i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (i % 60));
        for number in spread.chain([0, 1, 1_000, 86_400_000_000]) {
            let time = Duration::from_micros(number);
            assert_eq!(duration(&show_duration(time)), Ok(time));
            let bytes = usize::try_from(number >> 4).expect("60 bits fit");
            assert_eq!(size(&show_size(bytes)), Ok(bytes));
        }
    }
}
