//! Dates as logs have them, in microseconds of Unix time.

use super::cursor::Cursor;

const MONTHS: [&[u8]; 12] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];

/// `10/Oct/2000:13:55:36 -0700`, with or without milliseconds and zone: the date of Apache, nginx and
/// HAProxy. Without a zone it is taken as UTC, since only differences matter.
pub(super) fn log_date(text: &[u8]) -> Option<u64> {
    let mut cursor = Cursor::new(text);
    let day = cursor.number()?;
    let month = cursor.eats(b'/').then(|| cursor.until(b'/'))?;
    let month = MONTHS.iter().position(|name| *name == month)? as u64 + 1;
    let year = cursor.number()?;
    let mut clock = [0; 3];
    for part in &mut clock {
        *part = cursor.eats(b':').then(|| cursor.number())??;
    }
    let [hour, minute, second] = clock;
    let is_date = (1..=31).contains(&day) && (1970..=9_999).contains(&year);
    if !is_date || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let millis = if cursor.eats(b'.') { cursor.number().filter(|it| *it < 1_000)? } else { 0 };
    let seconds = days(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
    let seconds = match (cursor.eats(b' '), cursor.next()) {
        (true, Some(sign @ (b'+' | b'-'))) => {
            let zone = cursor.number().filter(|zone| *zone <= 1_400)?;
            let east = zone / 100 * 3_600 + zone % 100 * 60;
            if sign == b'+' { seconds.checked_sub(east)? } else { seconds + east }
        }
        (false, None) => seconds,
        _ => return None,
    };
    cursor.is_over().then_some((seconds * 1_000 + millis) * 1_000)
}

/// Days from 1970-01-01 to a date from then on, by counting leap years (the Gregorian rule).
fn days(year: u64, month: u64, day: u64) -> u64 {
    let before = year - 1;
    let leaps = |year: u64| year / 4 - year / 100 + year / 400;
    let whole = (year - 1_970) * 365 + leaps(before) - leaps(1_969);
    const BEFORE_MONTH: [u64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let is_leap = leaps(year) > leaps(before);
    let leap_day = u64::from(is_leap && month > 2);
    let month = usize::try_from(month - 1).expect("a month is one of twelve");
    whole + BEFORE_MONTH[month] + leap_day + day - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_logs_are_unix_time() {
        let seconds = |text: &str| log_date(text.as_bytes()).map(|micros| micros / 1_000_000);
        assert_eq!(seconds("10/Oct/2000:13:55:36 -0700"), Some(971_211_336));
        assert_eq!(seconds("01/Jan/1970:01:00:00 +0100"), Some(0));
        assert_eq!(seconds("29/Feb/2024:00:00:00 +0000"), Some(1_709_164_800));
        assert_eq!(seconds("01/Mar/2024:00:00:00 +0000"), Some(1_709_251_200));
        assert_eq!(log_date(b"06/Feb/2009:12:14:14.655"), Some(1_233_922_454_655_000));
        for wrong in ["", "10/Okt/2000:13:55:36", "10/Oct/2000", "32/Jan/2000:00:00:00", "x"] {
            assert_eq!(seconds(wrong), None, "{wrong:?}");
        }
    }
}
