//! Percent-encoded text: the one form of a path by which paths are compared, and what has to be
//! encoded before it may stand somewhere.
//!
//! One path can be written in many ways, and who compares it as it comes can be walked around:
//! `/%61dmin` and `/public/../admin` reach the same page as `/admin` at most backends. So paths are
//! compared in their normal form (RFC 3986 §6.2.2): an encoded letter, digit, `-`, `.`, `_` or `~` is
//! that character, other encodings are in upper case, and `.` and `..` are followed. `%2F` is *not* a
//! slash, since a backend may tell the two apart; and `//` stays, for the same reason.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;

/// The normal form of a path that begins with `/`. Another one, such as the `*` of OPTIONS, is as it
/// is. Nothing is allocated for a path that is in its normal form, as nearly all are.
pub(crate) fn normal_path(path: &str) -> Cow<'_, str> {
    if !path.starts_with('/') || is_surely_normal(path) {
        return Cow::Borrowed(path);
    }
    let is_dots = |segment: &str| matches!(segment, "." | "..");
    let is_plain = |path: &str| !path.split('/').any(is_dots);
    if is_plain(path) && !has_needless_encoding(path) {
        return Cow::Borrowed(path);
    }
    let decoded = without_needless_encoding(path);
    if is_plain(&decoded) {
        return Cow::Owned(decoded);
    }
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = decoded[1..].split('/').peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            "." => {}
            ".." => drop(kept.pop()),
            _ => kept.push(segment),
        }
        if is_last && is_dots(segment) {
            kept.push("");
        }
    }
    Cow::Owned(["/", &kept.join("/")].concat())
}

/// Whether [`normal_path`] follows a `.` or `..` in it, however that is written.
pub(crate) fn has_dot_segments(path: &str) -> bool {
    let mut segments = path.split('/').skip(1);
    path.starts_with('/')
        && segments.any(|segment| {
            let decoded = segment.replace("%2e", ".").replace("%2E", ".");
            matches!(&*decoded, "." | "..")
        })
}

/// Whether there is nothing in it that would have to be looked at: one pass, for nearly all paths.
fn is_surely_normal(path: &str) -> bool {
    let mut before = 0;
    path.bytes().all(|byte| {
        let is_dot_behind_slash = byte == b'.' && before == b'/';
        before = byte;
        byte != b'%' && !is_dot_behind_slash
    })
}

/// Whether [`without_needless_encoding`] would change anything.
fn has_needless_encoding(text: &str) -> bool {
    text.match_indices('%').any(|(at, _)| {
        let code = &text.as_bytes()[at..];
        encoded(code).is_some_and(|byte| {
            is_unreserved(byte) || code[1..3].iter().any(u8::is_ascii_lowercase)
        })
    })
}

/// RFC 3986 §6.2.2.1 and §6.2.2.2. A `%` that encodes nothing stays, unless what is decoded behind it
/// would make it encode something: `%%361` says `%61`, and must not become what says `a`.
fn without_needless_encoding(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut strays = Vec::new();
    let mut rest = text;
    while let Some(percent) = rest.find('%') {
        out.push_str(&rest[..percent]);
        rest = &rest[percent..];
        let taken = match encoded(rest.as_bytes()) {
            Some(byte) if is_unreserved(byte) => {
                out.push(char::from(byte));
                3
            }
            Some(_) => {
                out.push_str(&rest[..3].to_ascii_uppercase());
                3
            }
            None => {
                strays.push(out.len());
                out.push('%');
                1
            }
        };
        rest = &rest[taken..];
    }
    out.push_str(rest);
    if strays.is_empty() { out } else { with_strays_encoded(&out, &strays) }
}

/// `text` with those of its `strays` encoded, which are places of `%`, that would encode something.
fn with_strays_encoded(text: &str, strays: &[usize]) -> String {
    let mut out = String::with_capacity(text.len() + 2 * strays.len());
    let mut from = 0;
    for stray in strays {
        out.push_str(&text[from..=*stray]);
        from = stray + 1;
        if encoded(&text.as_bytes()[*stray..]).is_some() {
            out.push_str("25");
        }
    }
    out.push_str(&text[from..]);
    out
}

/// What a name or value in a query says: `+` is a space there (WHATWG URL §5.1).
pub(crate) fn form_decoded(text: &str) -> Cow<'_, [u8]> {
    if !text.contains(['%', '+']) {
        return Cow::Borrowed(text.as_bytes());
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let (byte, behind) = match (first, encoded(rest)) {
            (_, Some(byte)) => (byte, &rest[3..]),
            (b'+', None) => (b' ', after),
            (byte, None) => (*byte, after),
        };
        out.push(byte);
        rest = behind;
    }
    Cow::Owned(out)
}

/// Where text is to stand, which says what needs no encoding there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Within {
    /// A header's value or a part of it, which ends neither a parameter there, nor an element of a list
    /// or a quoted string (RFC 9110 §5.6).
    Header,
    /// A url that is a header's whole value.
    HeaderUrl,
    /// A path, slashes included.
    Path,
    /// A whole query.
    Query,
    /// A name or value in a query.
    Pair,
}

/// Appends `text`, every byte encoded that may not stand there. What is encoded already stays so;
/// it is not encoded twice.
pub(crate) fn push_encoded(out: &mut String, text: &str, within: Within) {
    for (at, byte) in text.bytes().enumerate() {
        let stays = match byte {
            b'%' => within.is_header() || encoded(&text.as_bytes()[at..]).is_some(),
            _ => within.takes(byte),
        };
        if stays {
            out.push(char::from(byte));
        } else {
            let digit = |bits: u8| char::from(b"0123456789ABCDEF"[usize::from(bits)]);
            out.extend(['%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
}

impl Within {
    /// Whether a `%` needs no encoding, whatever follows it.
    pub(crate) const fn is_header(self) -> bool {
        matches!(self, Self::Header | Self::HeaderUrl)
    }

    /// RFC 3986 §3.3, §3.4. No place takes a control character, a space or a byte beyond ASCII.
    pub(crate) fn takes(self, byte: u8) -> bool {
        is_unreserved(byte)
            || match self {
                Self::Header => byte.is_ascii_graphic() && !b";,\"\\".contains(&byte),
                Self::HeaderUrl => byte.is_ascii_graphic(),
                Self::Path => b"!$&'()*+,;=:@/".contains(&byte),
                Self::Query => b"!$&'()*+,;=:@/?".contains(&byte),
                Self::Pair => b":@/".contains(&byte),
            }
    }
}

/// The byte that `%XX` at the beginning of `text` stands for.
pub(crate) fn encoded(text: &[u8]) -> Option<u8> {
    let [b'%', high, low, ..] = *text else { return None };
    let digit = |byte: u8| u8::try_from(char::from(byte).to_digit(16)?).ok();
    Some(digit(high)? << 4 | digit(low)?)
}

/// What means the same encoded or not (RFC 3986 §2.3).
const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// What is left of `path` behind `prefix` where that ends at the end of a segment: `/b` of `/a/b`
/// behind `/a`, and nothing of `/ab`.
pub(crate) fn behind_prefix<'p>(path: &'p str, prefix: &str) -> Option<&'p str> {
    let rest = path.strip_prefix(prefix.trim_end_matches('/'))?;
    (rest.is_empty() || rest.starts_with('/')).then_some(rest)
}

/// `path` with one slash where it begins with several: behind a redirect they would name a host
/// (RFC 3986 §4.2).
pub(crate) fn with_one_slash(path: &str) -> String {
    ["/", path.trim_start_matches('/')].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_path_has_one_normal_form() {
        for (path, normal) in [
            ("/", "/"),
            ("*", "*"),
            ("", ""),
            ("/a//b/", "/a//b/"),
            ("/%61dmin/%7Eme", "/admin/~me"),
            ("/a%2fb%2F", "/a%2Fb%2F"),
            ("/%2561", "/%2561"),
            ("/100%/%zz/%4", "/100%/%zz/%4"),
            ("/%%361dmin/%%36", "/%2561dmin/%6"),
            ("/%%%34%31", "/%%2541"),
            ("/%%32%65", "/%252e"),
            ("/public/../admin", "/admin"),
            ("/a/./b/.", "/a/b/"),
            ("/a/b/..", "/a/"),
            ("/..", "/"),
            ("/../../x", "/x"),
            ("/a/%2e%2E/b", "/b"),
            ("/.well-known/x", "/.well-known/x"),
            ("/a/...", "/a/..."),
        ] {
            assert_eq!(normal_path(path), normal, "{path:?}");
        }
        assert!(matches!(normal_path("/a/b"), Cow::Borrowed(_)), "nothing is allocated");
        assert!(matches!(normal_path("/a%2Fb/.well-known"), Cow::Borrowed(_)));
    }

    #[test]
    fn a_dot_segment_is_one_however_it_is_written() {
        for path in ["/..", "/a/.", "/a/%2e%2E/b", "/.%2e", "/%2E/"] {
            assert!(has_dot_segments(path), "{path:?}");
        }
        for path in ["/", "*", "..", "/...", "/.a", "/a..", "/%252e", "/%%32e", "/..%2F", "/.;"] {
            assert!(!has_dot_segments(path), "{path:?}");
        }
    }

    #[test]
    fn a_query_is_read_as_a_form_writes_it() {
        assert_eq!(&*form_decoded("a+b%20c%2B%zz"), b"a b c+%zz");
        assert!(matches!(form_decoded("plain"), Cow::Borrowed(b"plain")));
    }

    #[test]
    fn what_is_encoded_is_not_encoded_twice() {
        let encoded = |text: &str, within| {
            let mut out = String::new();
            push_encoded(&mut out, text, within);
            out
        };
        assert_eq!(encoded("a%2Fb%zz c?d", Within::Path), "a%2Fb%25zz%20c%3Fd");
        assert_eq!(encoded("a\r\nb\0é%", Within::Header), "a%0D%0Ab%00%C3%A9%");
        assert_eq!(encoded("a;b,c\"\\=%3B%", Within::Header), "a%3Bb%2Cc%22%5C=%3B%");
        assert_eq!(encoded("/a;b,c?d=%", Within::HeaderUrl), "/a;b,c?d=%");
        assert_eq!(encoded("a=b&c", Within::Query), "a=b&c");
        assert_eq!(encoded("a=b&c+d", Within::Pair), "a%3Db%26c%2Bd");
    }

    #[test]
    fn a_prefix_ends_where_a_segment_does() {
        assert_eq!(behind_prefix("/a/b", "/a"), Some("/b"));
        assert_eq!(behind_prefix("/a", "/a"), Some(""));
        assert_eq!(behind_prefix("/ab", "/a"), None);
        assert_eq!(behind_prefix("/ab", "/"), Some("/ab"));
        assert_eq!(with_one_slash("//evil.example/"), "/evil.example/");
    }

    proptest! {
        #[test]
        fn a_normal_form_is_its_own(path in "/[a.%/12346eEF5c~]{0,24}") {
            let once = normal_path(&path).into_owned();
            prop_assert_eq!(normal_path(&once), &*once);
            prop_assert!(!once.split('/').any(|segment| matches!(segment, "." | "..")));
            let segments = |path: &str| path.split('/').count();
            prop_assert!(has_dot_segments(&path) || segments(&once) == segments(&path));
        }

        #[test]
        fn nothing_that_could_end_a_line_gets_anywhere(text in ".*") {
            use Within::{Header, HeaderUrl, Pair, Path, Query};
            for within in [Header, HeaderUrl, Path, Query, Pair] {
                let mut out = String::new();
                push_encoded(&mut out, &text, within);
                prop_assert!(out.bytes().all(|byte| byte.is_ascii_graphic()), "{out:?}");
            }
        }
    }
}
