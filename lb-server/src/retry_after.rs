//! `Retry-After`, in either of its two forms (RFC 9110 §10.2.3).

use std::time::{Duration, SystemTime};

use http::{HeaderMap, header};

/// How long from `now` on the sender asks to be left alone. A date that is past asks for nothing.
pub(crate) fn retry_after(
    headers: &HeaderMap,
    now: impl FnOnce() -> SystemTime,
) -> Option<Duration> {
    let said = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if !said.is_empty() && said.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than 64 bits hold mean "for ever".
        return Some(Duration::from_secs(said.parse().unwrap_or(u64::MAX)));
    }
    let until = httpdate::parse_http_date(said).ok()?;
    Some(until.duration_since(now()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn read(said: &'static str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static(said));
        // 1994-11-15T08:12:00Z
        retry_after(&headers, || SystemTime::UNIX_EPOCH + Duration::from_secs(784_887_120))
    }

    #[test]
    fn both_forms_are_read_and_nonsense_asks_for_nothing() {
        let secs = |secs| Some(Duration::from_secs(secs));
        assert_eq!(read("0"), secs(0));
        assert_eq!(read(" 120 "), secs(120));
        assert_eq!(read("99999999999999999999999"), secs(u64::MAX));
        assert_eq!(read("Tue, 15 Nov 1994 08:12:31 GMT"), secs(31));
        assert_eq!(read("Tue, 15 Nov 1994 08:11:31 GMT"), secs(0));
        for nonsense in ["", "-1", "1.5", "soon", "12 s"] {
            assert_eq!(read(nonsense), None, "{nonsense:?}");
        }
    }
}
