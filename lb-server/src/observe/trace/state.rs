//! `tracestate`: what other vendors have to remember about a trace, passed on within bounds.

use http::header::{HeaderMap, HeaderValue};

use super::TRACESTATE;

/// Members of a list; one with more is not a list (§3.3.1.1).
const MEMBERS_MAX: usize = 32;
/// Bytes that everybody has to pass on, and all that we do (§3.3.1.5).
const STATE_BYTES_MAX: usize = 512;
/// A member longer than this goes first when there are too many bytes (§3.3.1.5).
const LONG_MEMBER_BYTES: usize = 128;
/// Bytes of a key, and of a value (§3.3.1.3).
const KEY_BYTES_MAX: usize = 256;
const VALUE_BYTES_MAX: usize = 256;

/// What is passed on. Nothing if any of it is not written as it must be (§4.2).
pub(super) fn state(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut members: Vec<&str> = Vec::new();
    for line in headers.get_all(TRACESTATE) {
        for member in line.to_str().ok()?.split(',').map(|member| member.trim_matches([' ', '\t']))
        {
            if member.is_empty() {
                continue;
            }
            let key = key(member)?;
            let repeats = members.iter().any(|other| other.split('=').next() == Some(key));
            if repeats || members.len() == MEMBERS_MAX {
                return None;
            }
            members.push(member);
        }
    }
    let bytes = |members: &[&str]| {
        members.iter().map(|member| member.len() + 1).sum::<usize>().saturating_sub(1)
    };
    if bytes(&members) > STATE_BYTES_MAX {
        members.retain(|member| member.len() <= LONG_MEMBER_BYTES);
    }
    // The rightmost is the oldest, and the first to be forgotten.
    while bytes(&members) > STATE_BYTES_MAX {
        members.pop();
    }
    let whole = (!members.is_empty()).then(|| members.join(","))?;
    HeaderValue::try_from(whole).ok()
}

/// The key of a member that is written as it must be (§3.3.1.3).
fn key(member: &str) -> Option<&str> {
    let (key, value) = member.split_once('=')?;
    let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_key = (1..=KEY_BYTES_MAX).contains(&key.len())
        && key.bytes().next().is_some_and(is_letter)
        && key.bytes().all(|byte| is_letter(byte) || b"_-*/@".contains(&byte));
    let is_value = (1..=VALUE_BYTES_MAX).contains(&value.len())
        && value.bytes().all(|byte| (b' '..=b'~').contains(&byte) && byte != b'=');
    (is_key && is_value).then_some(key)
}
