//! What a head has for one connection only, and does not leave it (RFC 9110 §7.6.1).

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

/// What `Connection` mostly names is no field, and would be one for this connection only if it were.
const CLOSE: HeaderName = HeaderName::from_static("close");

/// What a message cannot do without, and `Connection` must not take away.
const KEPT: [HeaderName; 3] = [header::HOST, header::CONTENT_LENGTH, header::SET_COOKIE];

/// Removes what `is_unwanted`, `Connection`, and what that names. One look at each field, which `notice` is
/// told of, finds them: a look-up for each that might be there takes four times as long, and most are not.
/// Returns what else went than `Connection`.
pub(super) fn remove(
    headers: &mut HeaderMap,
    is_unwanted: impl Fn(&str) -> bool,
    mut notice: impl FnMut(&HeaderName, &HeaderValue),
) -> Vec<HeaderName> {
    let mut unwanted: Vec<HeaderName> = Vec::new();
    let (mut connection, mut closes) = (false, false);
    for (name, value) in &*headers {
        notice(name, value);
        if *name == header::CONNECTION {
            connection = true;
            // Each by itself: what is no name must not protect the others.
            for named in value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                match named {
                    b"close" => closes = true,
                    // These go because they are there, if they are.
                    b"keep-alive" if is_unwanted("keep-alive") => {}
                    b"upgrade" if is_unwanted("upgrade") => {}
                    _ => {
                        let named = HeaderName::from_bytes(named).ok();
                        unwanted.extend(named.filter(|name| !KEPT.contains(name)));
                    }
                }
            }
        } else if is_unwanted(name.as_str()) {
            unwanted.push(name.clone());
        }
    }
    for name in &unwanted {
        headers.remove(name);
    }
    if closes {
        headers.remove(CLOSE);
    }
    if connection {
        headers.remove(header::CONNECTION);
    }
    unwanted
}

/// What belongs to one connection whether `Connection` names it or not.
pub(super) fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "http2-settings" // RFC 7540 §3.2.1
            | "keep-alive"
            | "proxy-connection"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "te"
            | "transfer-encoding"
            | "upgrade"
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::dice;

    /// Takes away one field after the other.
    fn remove_each(headers: &mut HeaderMap, is_unwanted: impl Fn(&str) -> bool) {
        let options: Vec<HeaderValue> =
            headers.get_all(header::CONNECTION).iter().cloned().collect();
        let options = options.iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
        let named = options.filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok());
        let named = named.filter(|name| !KEPT.contains(name));
        let unwanted = headers.keys().filter(|name| is_unwanted(name.as_str())).cloned();
        let unwanted: Vec<HeaderName> = unwanted.chain(named).collect();
        unwanted.iter().for_each(|name| drop(headers.remove(name)));
    }

    proptest! {
        #![proptest_config(dice::replayed())]

        #[test]
        fn one_look_removes_what_a_look_for_each_would(
            fields in prop::collection::vec(
                (
                    prop::sample::select(vec![
                        "connection", "close", "keep-alive", "te", "host", "content-length", "date",
                        "set-cookie", "upgrade", "x-a", "x-b",
                    ]),
                    "[a-c]{0,2}",
                ),
                0..9,
            ),
            options in prop::collection::vec(
                prop::sample::select(vec![
                    "close", "Close", "keep-alive", "Keep-Alive", "te", "host", "Host", "date", "x-a",
                    "X-B", "content-length", "set-cookie", "connection", "", " ", "a b", "\u{e9}",
                ]),
                0..4,
            ),
            takes_length in any::<bool>(),
        ) {
            let mut headers = HeaderMap::new();
            for (name, value) in fields {
                headers.append(name, HeaderValue::try_from(value).unwrap());
            }
            let options = HeaderValue::try_from(options.join(" ,")).unwrap();
            headers.append(header::CONNECTION, options);
            let is_unwanted =
                |name: &str| is_hop_by_hop(name) || (takes_length && name == "content-length");
            let (before, mut plainly, mut seen) = (headers.clone(), headers.clone(), 0);
            remove_each(&mut plainly, is_unwanted);
            let removed = remove(&mut headers, is_unwanted, |name, value| {
                assert!(before.get_all(name).iter().any(|it| it == value), "{name} is not there");
                seen += 1;
            });
            prop_assert_eq!(&headers, &plainly);
            prop_assert_eq!(seen, before.len());
            prop_assert!(removed.iter().all(|name| !headers.contains_key(name)));
            let is_told = !before.contains_key(header::DATE)
                || headers.contains_key(header::DATE)
                || removed.contains(&header::DATE);
            prop_assert!(is_told, "whoever removes a date says so");
        }
    }
}
