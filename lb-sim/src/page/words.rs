//! Numbers as people read them on a page: few digits, always with their unit.

use std::time::Duration;

/// A point in time of a run.
pub(crate) fn seconds(at: Duration) -> String {
    let millis = at.as_millis();
    let (whole, rest) = (millis / 1_000, millis % 1_000);
    let rest = format!("{rest:03}");
    match rest.trim_end_matches('0') {
        "" => format!("{whole} s"),
        rest => format!("{whole}.{rest} s"),
    }
}

/// A latency in milliseconds, to three digits.
pub(crate) fn millis(ms: f64) -> String {
    match ms {
        ..0.1 => format!("{ms:.3} ms"),
        ..10.0 => format!("{ms:.2} ms"),
        ..100.0 => format!("{ms:.1} ms"),
        ..1_000.0 => format!("{ms:.0} ms"),
        _ => format!("{:.2} s", ms / 1_000.0),
    }
}

/// A ratio as percent: the fewer, the more digits.
pub(crate) fn percent(ratio: f64) -> String {
    match ratio * 100.0 {
        0.0 => "0 %".to_owned(),
        percent if percent < 0.005 => "< 0.01 %".to_owned(),
        percent if percent < 1.0 => format!("{percent:.2} %"),
        percent => format!("{percent:.1} %"),
    }
}

/// A count, in groups of three digits.
pub(crate) fn count(count: u64) -> String {
    let digits = count.to_string();
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Something per second.
pub(crate) fn rate(rate: f64) -> String {
    if rate < 10.0 { format!("{rate:.1}/s") } else { format!("{rate:.0}/s") }
}

/// `one request`, `2 requests`.
pub(crate) fn several(many: usize, what: &str) -> String {
    if many == 1 { format!("one {what}") } else { format!("{} {what}s", count(many as u64)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_as_many_digits_as_they_deserve() {
        let at = |ms| seconds(Duration::from_millis(ms));
        assert_eq!([at(0), at(250), at(12_000), at(12_340)], ["0 s", "0.25 s", "12 s", "12.34 s"]);
        assert_eq!(
            [0.0, 0.02, 5.123, 99.96, 1_234.0].map(millis),
            ["0.000 ms", "0.020 ms", "5.12 ms", "100.0 ms", "1.23 s"]
        );
        assert_eq!([0.0, 0.001_2, 0.5].map(percent), ["0 %", "0.12 %", "50.0 %"]);
        assert_eq!([7, 1_000, 1_234_567].map(count), ["7", "1,000", "1,234,567"]);
        assert_eq!([several(1, "seed"), several(2, "seed")], ["one seed", "2 seeds"]);
    }
}
